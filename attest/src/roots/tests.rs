use super::*;
use colophon_receipt::merkle::sha256;
use colophon_signer::x509::Certificate;

#[test]
fn the_pinned_certificates_are_the_vendors_own() {
    let pinned = [
        (INTEL, "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"),
        (ARK_MILAN, "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd"),
        (ARK_GENOA, "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1"),
        (ARK_TURIN, "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a"),
        (ASK_MILAN, "67d303bd3905fd38db8b20e0793699870e7fa612eaad5dec358293fd8c0bac1b"),
        (ASK_GENOA, "5464738c1546aed5f2cecf1dc98c5c960a92e8913238a61711bc90ec6e828521"),
        (ASK_TURIN, "5b77ef5fe7a7a004fd9032668fba9d0fda22f88c4442069a479636a6ae3b3185"),
        (ASVK_MILAN, "c5e081f59b7efab1fe2f8b505e159704e72f29cab7ef7cf628a05a42439082f5"),
        (ASVK_GENOA, "197e610743a917d6b9bb982a5a9226ccc0a15b611be0619e626aca9151457372"),
        (ASVK_TURIN, "104e10a8bd060a3c20a434261a57d0588fd65a88915b4f65b08bdecaf8df1a3c"),
        (NVIDIA, "102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48"),
        (NITRO, "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"),
    ];
    for (der, digest) in pinned {
        assert_eq!(hex::encode(sha256(der)), digest);
    }
}

#[test]
fn roots_sign_themselves_and_amds_intermediates() {
    let parse = |der| Certificate::parse(der).unwrap();
    for root in [INTEL, ARK_MILAN, ARK_GENOA, ARK_TURIN, NVIDIA, NITRO] {
        assert!(parse(root).is_issued_by(&parse(root)), "{}", parse(root).name());
    }
    let pairs = [
        (ASK_MILAN, ARK_MILAN),
        (ASK_GENOA, ARK_GENOA),
        (ASK_TURIN, ARK_TURIN),
        (ASVK_MILAN, ARK_MILAN),
        (ASVK_GENOA, ARK_GENOA),
        (ASVK_TURIN, ARK_TURIN),
    ];
    for (below, above) in pairs {
        assert!(parse(below).is_issued_by(&parse(above)), "{}", parse(below).name());
    }
    assert!(!parse(ASK_MILAN).is_issued_by(&parse(ARK_GENOA)));
}
