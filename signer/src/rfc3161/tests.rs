use super::testing::{Identity, Template, Tsa, response, tlv};
use super::*;

/// 26 November 2026, in µs.
const NOW: u64 = 1_795_680_000_000_000;
const YEAR: u64 = 31_536_000;
const IMPRINT: [u8; 32] = [7; 32];

fn request() -> Request {
    Request { imprint: IMPRINT, nonce: [0x9c; 16] }
}

/// The token, verified as a client would.
fn accept(tsa: &Tsa, time: u64) -> Result<(TstInfo, Chain), String> {
    let answer = tsa.answer(&request(), time);
    let token = Token::parse(token_of(&answer).map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
    token.check_request(&request()).map_err(|e| e.to_string())?;
    let chain = token.chain(&tsa.roots()).map_err(|e| e.to_string())?;
    Ok((token.info().clone(), chain))
}

#[test]
fn a_good_token_says_when_and_by_whom() {
    let (info, chain) = accept(&Tsa::new(1, NOW), NOW + 123_450).unwrap();
    assert_eq!((info.gen_time, info.accuracy), (NOW + 123_450, Some(1_000_000)));
    assert_eq!(
        (info.imprint, info.serial.as_str(), info.policy.as_str()),
        (IMPRINT, "1122", "1.3.6.1.4.1.99999.1")
    );
    assert_eq!((chain.tsa.as_str(), chain.root, chain.crl_checked), ("Test TSA 1", 0, vec![false]));
}

#[test]
fn a_token_of_something_else_is_no_answer() {
    let tsa = Tsa::new(1, NOW);
    let token = Token::parse(&tsa.token(&[8; 32], NOW, Some(&request().nonce_contents()))).unwrap();
    assert_eq!(token.check_request(&request()), Err(TokenError::Imprint(hex::encode([8; 32]))));
    let other = Request { nonce: [1; 16], ..request() };
    let token = Token::parse(&tsa.token(&IMPRINT, NOW, Some(&other.nonce_contents()))).unwrap();
    assert_eq!(token.check_request(&request()), Err(TokenError::Nonce));
    let token = Token::parse(&tsa.token(&IMPRINT, NOW, None)).unwrap();
    assert_eq!(token.check_request(&request()), Err(TokenError::Nonce));
}

#[test]
fn a_chain_is_judged_at_the_tokens_time() {
    let seconds = NOW / 1_000_000;
    let root = Identity::new(1, &Template::authority("Root", (seconds - 9 * YEAR, seconds + 9 * YEAR)), None);
    let tsa = |from, to| Tsa::under(root.clone(), 2, &Template::tsa("TSA", (from, to)));
    // It expired a minute after the token: good for ever.
    accept(&tsa(seconds - YEAR, seconds + 60), NOW).unwrap();
    accept(&tsa(seconds, seconds), NOW + 999_999).unwrap();
    let expired = accept(&tsa(seconds - YEAR, seconds - 1), NOW).unwrap_err();
    assert!(expired.contains("\"TSA\"") && expired.contains("had expired"), "{expired}");
    let early = accept(&tsa(seconds + 1, seconds + YEAR), NOW).unwrap_err();
    assert!(early.contains("not yet valid"), "{early}");
    // The root's own dates count as well.
    let root = Identity::new(1, &Template::authority("Root", (seconds - 9 * YEAR, seconds - 1)), None);
    let old = Tsa::under(root, 2, &Template::tsa("TSA", (seconds - YEAR, seconds + YEAR)));
    assert!(accept(&old, NOW).unwrap_err().contains("\"Root\""));
}

#[test]
fn only_chains_to_a_given_root_count() {
    let (ours, theirs) = (Tsa::new(1, NOW), Tsa::new(11, NOW));
    let token = Token::parse(&theirs.token(&IMPRINT, NOW, None)).unwrap();
    assert_eq!(token.chain(&ours.roots()), Err(ChainError::Unknown));
    assert_eq!(token.chain(&Roots::default()), Err(ChainError::Unknown));
    let mut both = ours.roots();
    both.extend(theirs.roots()).unwrap();
    assert_eq!(token.chain(&both).unwrap().root, 1);
    // Another key under the root's name.
    let namesake = Identity::new(99, &Template::authority("Test root 11", (0, NOW / 500_000)), None);
    let mut roots = Roots::default();
    roots.add_der(namesake.certificate).unwrap();
    assert_eq!(token.chain(&roots), Err(ChainError::Unknown));
    // The TSA's own certificate may be what is trusted.
    let mut pinned = Roots::default();
    pinned.add_der(theirs.signers[0].certificate.clone()).unwrap();
    assert_eq!(token.chain(&pinned).unwrap().tsa, "Test TSA 11");
}

#[test]
fn chains_may_have_authorities_between_that_are_authorities() {
    let seconds = NOW / 1_000_000;
    let valid = (seconds - YEAR, seconds + YEAR);
    let root = Identity::new(1, &Template::authority("Root", valid), None);
    let chain = |between: Template| {
        let between = Identity::new(3, &between, Some(&root));
        let mut tsa = Tsa::under(between.clone(), 2, &Template::tsa("TSA", valid));
        tsa.others = vec![between.certificate.clone()];
        let token = Token::parse(&tsa.token(&IMPRINT, NOW, None)).unwrap();
        let mut roots = Roots::default();
        roots.add_der(root.certificate.clone()).unwrap();
        (token.chain(&roots), tsa, roots)
    };
    let (good, mut tsa, roots) = chain(Template::authority("Between", valid));
    assert_eq!(good.unwrap().crl_checked, [false, false]);
    tsa.others.clear();
    let token = Token::parse(&tsa.token(&IMPRINT, NOW, None)).unwrap();
    assert_eq!(token.chain(&roots), Err(ChainError::Unknown));
    let (no_authority, ..) = chain(Template { authority: false, ..Template::authority("Between", valid) });
    assert!(
        matches!(&no_authority, Err(ChainError::Bad(why)) if why.contains("no certificate authority")),
        "{no_authority:?}"
    );
    let web = Some((vec!["1.3.6.1.5.5.7.3.1".to_owned()], false));
    let (for_web, ..) = chain(Template { purposes: web, ..Template::authority("Between", valid) });
    assert!(matches!(&for_web, Err(ChainError::Bad(why)) if why.contains("time stamping")), "{for_web:?}");
    let (expired, ..) = chain(Template::authority("Between", (seconds - YEAR, seconds - 1)));
    assert!(matches!(&expired, Err(ChainError::Bad(why)) if why.contains("expired")), "{expired:?}");
}

#[test]
fn certificates_that_issue_each_other_do_not_keep_us_busy() {
    let seconds = NOW / 1_000_000;
    let valid = (seconds - YEAR, seconds + YEAR);
    let one = Identity::new(3, &Template::authority("Loop", valid), None);
    let mut tsa = Tsa::under(one.clone(), 2, &Template::tsa("TSA", valid));
    let template = Template::authority("Loop", valid);
    tsa.others = (0..15)
        .map(|n| {
            Identity::new(3, &Template { valid: (valid.0 - n, valid.1), ..template.clone() }, None)
                .certificate
        })
        .collect();
    let token = Token::parse(&tsa.token(&IMPRINT, NOW, None)).unwrap();
    assert_eq!(token.chain(&Tsa::new(40, NOW).roots()), Err(ChainError::Unknown));
    tsa.others.push(one.certificate);
    assert!(Token::parse(&tsa.token(&IMPRINT, NOW, None)).is_err(), "17 certificates");
}

#[test]
fn a_certificate_that_is_not_for_time_stamping_alone_is_refused() {
    let seconds = NOW / 1_000_000;
    let valid = (seconds - YEAR, seconds + YEAR);
    let root = Identity::new(1, &Template::authority("Root", valid), None);
    let (stamping, signing) = ("1.3.6.1.5.5.7.3.8".to_owned(), "1.3.6.1.5.5.7.3.3".to_owned());
    for (purposes, why) in [
        (None, "no extended key usage"),
        (Some((vec![stamping.clone()], false)), "not critical"),
        (Some((vec![stamping, signing.clone()], true)), "time stamping alone"),
        (Some((vec![signing], true)), "time stamping alone"),
    ] {
        let tsa = Tsa::under(root.clone(), 2, &Template { purposes, ..Template::tsa("TSA", valid) });
        let error = Token::parse(&tsa.token(&IMPRINT, NOW, None)).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn what_the_signer_must_say_is_demanded() {
    let good = Tsa::new(1, NOW);
    let refused = |tsa: &Tsa| Token::parse(&tsa.token(&IMPRINT, NOW, None)).unwrap_err().to_string();
    let two = Tsa { signers: vec![good.signers[0].clone(), good.signers[0].clone()], ..good.clone() };
    assert!(refused(&two).contains("exactly one signer"));
    let none = Tsa { signers: vec![], ..good.clone() };
    assert!(refused(&none).contains("exactly one signer"));
    assert!(refused(&Tsa { names_itself: false, ..good.clone() }).contains("names another certificate"));
    assert!(refused(&Tsa { digest: false, ..good.clone() }).contains("digest"));
}

#[test]
fn a_list_of_revoked_certificates_counts_where_it_is_at_hand() {
    let seconds = NOW / 1_000_000;
    let tsa = Tsa::new(1, NOW);
    let token = Token::parse(&tsa.token(&IMPRINT, NOW, None)).unwrap();
    let chain = |crl: Vec<u8>| {
        let mut roots = tsa.roots();
        roots.add_crl(crl).unwrap();
        token.chain(&roots)
    };
    let next = seconds + YEAR;
    assert_eq!(chain(tsa.root.crl(77, seconds - 9, None, next)).unwrap().crl_checked, [true]);
    // It ended before the token: it says nothing about it.
    assert_eq!(chain(tsa.root.crl(77, seconds - 9, None, seconds - 1)).unwrap().crl_checked, [false]);
    assert!(
        matches!(chain(tsa.root.crl(2, seconds - 9, None, next)), Err(ChainError::Bad(why)) if why.contains("revoked"))
    );
    // A stolen key could have dated anything back; one that was only replaced could not.
    assert!(chain(tsa.root.crl(2, seconds + 9, Some(1), next)).is_err());
    assert!(chain(tsa.root.crl(2, seconds + 9, Some(4), next)).is_ok());
    assert!(chain(tsa.root.crl(2, seconds - 9, Some(4), next)).is_err());
    // By someone else.
    assert_eq!(chain(Tsa::new(30, NOW).root.crl(2, seconds - 9, None, next)).unwrap().crl_checked, [false]);
}

#[test]
fn answers_that_are_no_tokens() {
    let token = Tsa::new(1, NOW).token(&IMPRINT, NOW, None);
    assert_eq!(token_of(&vec![0x30; 5 << 20]), Err(ResponseError::TooLong));
    assert_eq!(Token::parse(&vec![0x30; 5 << 20]).unwrap_err(), TokenError::TooLong);
    let refusal = tlv(0x30, &tlv(0x30, &[tlv(0x02, &[2]), tlv(0x03, &[5, 0x20])].concat()));
    assert_eq!(token_of(&refusal), Err(ResponseError::Rejected { status: 2, failure: vec![2] }));
    for garbage in
        [&b""[..], b"<html>no</html>", &[0x30, 0x80, 0, 0], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x30, 0]]
    {
        assert_eq!(token_of(garbage), Err(ResponseError::Malformed), "{garbage:?}");
        assert!(Token::parse(garbage).is_err());
    }
    let mut longer = response(&token);
    longer.push(0);
    assert_eq!(token_of(&longer), Err(ResponseError::Malformed));
    for cut in 0..token.len() {
        assert!(Token::parse(&token[..cut]).is_err(), "cut at {cut}");
    }
    let mut longer = token.clone();
    longer.push(0);
    assert!(Token::parse(&longer).is_err());
}

#[test]
fn no_byte_can_be_changed_unseen() {
    let tsa = Tsa::new(1, NOW);
    let token = tsa.token(&IMPRINT, NOW, None);
    let roots = tsa.roots();
    let judge = |token: &[u8]| {
        let token = Token::parse(token).ok()?;
        token.check_imprint(&IMPRINT).ok()?;
        Some((token.chain(&roots).ok()?, token.info().clone()))
    };
    judge(&token).unwrap();
    for at in 0..token.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bent = token.clone();
            bent[at] ^= flip;
            assert_eq!(judge(&bent), None, "byte {at}");
        }
    }
}

#[test]
fn roots_are_read_from_pem() {
    use base64::Engine as _;
    let tsa = Tsa::new(1, NOW);
    let pem = |label: &str, der: &[u8]| {
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        let lines: Vec<&str> =
            body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
    };
    let file = format!("Subject: x\n{}", pem("CERTIFICATE", &tsa.root.certificate));
    assert_eq!(Roots::from_pem(&file), Ok(tsa.roots()));
    let with_crl = format!("{file}{}", pem("X509 CRL", &tsa.root.crl(9, 1, None, 2)));
    assert_eq!(Roots::from_pem(&with_crl).unwrap().certificates().len(), 1);
    assert_eq!(Roots::from_pem(""), Err(RootsError::Empty));
    assert!(matches!(
        Roots::from_pem(&pem("CERTIFICATE", b"no")),
        Err(RootsError::Certificate { number: 1, .. })
    ));
    assert!(matches!(Roots::from_pem("-----BEGIN CERTIFICATE-----\nAAAA"), Err(RootsError::Pem(_))));
}
