//! What makes a chain bad although every signature in it is good.

use super::*;
use crate::chain;
use crate::roots::Pinned;
use der::Curve;

fn made(name: &str, template: Certificate<'_>, issuer: Option<&Identity>) -> Identity {
    simulation().identity(name, Curve::P384, template, issuer)
}

/// Whether revocation was checked on the path from `leaf` over `between` to `root`, or the word of the refusal.
fn path(
    root: &Identity,
    between: &[&Identity],
    leaf: &Identity,
    crls: &[Vec<u8>],
) -> Result<bool, &'static str> {
    let pinned = [Pinned { der: root.certificate.clone(), simulated: true }];
    let others: Vec<Vec<u8>> = between.iter().map(|identity| identity.certificate.clone()).collect();
    let others = chain::parse_all(&others).unwrap();
    let leaf = [leaf.certificate.clone()];
    let leaf = &chain::parse_all(&leaf).unwrap()[0];
    let path = chain::verify(leaf, &others, crls, &pinned, AT);
    path.map(|path| path.revocation_checked).map_err(|refusal| refusal.code())
}

#[test]
fn only_authorities_issue() {
    let root = made("root", Certificate::authority(), None);
    let between = made("between", Certificate::authority(), Some(&root));
    let leaf = made("leaf", Certificate::leaf(&[]), Some(&between));
    assert_eq!(path(&root, &[&between], &leaf, &[]), Ok(false));
    // What a device was given is no authority, though its key can sign anything.
    let below = made("below", Certificate::leaf(&[]), Some(&leaf));
    assert_eq!(path(&root, &[&between, &leaf], &below, &[]), Err("chain"));
    assert_eq!(path(&root, &[], &leaf, &[]), Err("simulated"), "a gap: the last one is named as simulated");
}

#[test]
fn what_is_critical_has_to_be_understood() {
    let root = made("root", Certificate::authority(), None);
    let extensions = [("1.2.3.4.5", vec![5, 0])];
    let template = Certificate::leaf(&extensions);
    let (leaf, critical) =
        (made("leaf", template, Some(&root)), made("critical", template.critical(), Some(&root)));
    assert_eq!(path(&root, &[], &leaf, &[]), Ok(false));
    assert_eq!(path(&root, &[], &critical, &[]), Err("chain"));
}

#[test]
fn what_is_revoked_anywhere_on_the_path_is_refused() {
    let root = made("root", Certificate::authority(), None);
    let between = made("between", Certificate::authority(), Some(&root));
    let leaf = made("leaf", Certificate::leaf(&[]), Some(&between));
    let path = |crls: &[Vec<u8>]| path(&root, &[&between], &leaf, crls);
    assert_eq!(path(&[root.crl(&[]), between.crl(&[])]), Ok(true));
    assert_eq!(path(&[root.crl(&[])]), Ok(false), "nothing says that of the leaf");
    assert_eq!(path(&[root.crl(&[]), between.crl(&[&leaf])]), Err("chain"));
    assert_eq!(path(&[root.crl(&[&between]), between.crl(&[])]), Err("chain"));
    // A list of an authority that did not issue it says nothing of it.
    assert_eq!(path(&[root.crl(&[&leaf]), between.crl(&[])]), Ok(true));
    assert_eq!(path(&[vec![0x30, 0]]), Err("malformed"));
}
