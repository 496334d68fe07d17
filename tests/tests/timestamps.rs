//! Timestamps by a real TSA, OpenSSL's: every kind of key that counts, and others' opinion of the same tokens.

use colophon_receipt::merkle::sha256;
use colophon_signer::rfc3161::{Request, Roots, Token, token_of};
use colophon_tests::tsa::{Kind, P256, Tsa};

fn roots(tsa: &Tsa) -> Roots {
    Roots::from_pem(&std::fs::read_to_string(tsa.path("root.pem")).unwrap()).unwrap()
}

#[test]
fn tokens_of_every_kind_of_key_are_verified_by_us_and_by_openssl() {
    let rsa: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
    let p384 = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"];
    let pss = &["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"];
    for kind in [
        P256,
        Kind { names_by: "sha1", between: true, ..P256 },
        Kind { key: p384, digest: "sha384", names_by: "sha384", ..P256 },
        Kind { key: p384, digest: "sha256", ..P256 },
        Kind { digest: "sha512", names_by: "sha512", ..P256 },
        Kind { key: rsa, ..P256 },
        Kind { key: rsa, digest: "sha512", between: true, ..P256 },
        Kind { key: rsa, digest: "sha384", signing: pss, ..P256 },
    ] {
        let tsa = Tsa::new(kind);
        let request = Request { imprint: sha256(b"something"), nonce: [0xfe; 16] };
        let answer = tsa.reply(&request.to_der());
        let der = token_of(&answer).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        let token = Token::parse(der).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        token.check_request(&request).unwrap();
        let chain = token.chain(&roots(&tsa)).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        assert_eq!(
            (chain.tsa.as_str(), chain.crl_checked.len()),
            ("OpenSSL TSA", 1 + usize::from(kind.between))
        );
        assert_eq!((token.info().accuracy, token.info().policy.as_str()), (Some(1_500_000), "1.2.3.4.1"));
        let file = tsa.path("token.tst");
        std::fs::write(&file, der).unwrap();
        tsa.verifies(&file, &request.imprint).unwrap_or_else(|said| panic!("{kind:?}: {said}"));
        assert!(tsa.verifies(&file, &[0; 32]).is_err());
        assert!(token.chain(&roots(&Tsa::new(P256))).is_err(), "another root");
    }
}

#[test]
fn weak_keys_and_hashes_are_refused() {
    let short: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"];
    let p521 = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"];
    for (kind, why) in [
        (Kind { key: short, ..P256 }, "2048"),
        (Kind { key: p521, ..P256 }, "curve"),
        (Kind { digest: "sha1", ..P256 }, "SHA-256"),
    ] {
        let tsa = Tsa::new(kind);
        let request = Request { imprint: [1; 32], nonce: [1; 16] };
        let answer = tsa.reply(&request.to_der());
        let error = Token::parse(token_of(&answer).unwrap()).unwrap_err().to_string();
        assert!(error.contains(why), "{kind:?}: {error}");
    }
}
