use super::*;
use crate::testing::recorded;

#[test]
fn what_is_written_is_read_again() {
    let tpm = TpmQuote {
        message: vec![1],
        signature: vec![2],
        key: vec![3],
        pcrs: BTreeMap::from([(0, "00".repeat(32))]),
        event_log: Some(vec![4]),
    };
    let evidence = vec![
        Evidence::IntelQuote { quote: vec![4, 0] },
        Evidence::SnpReport { report: vec![5], certificates: vec![vec![6]] },
        Evidence::Nvidia { report: vec![7], certificates: vec![] },
        Evidence::Nitro { document: vec![8] },
        Evidence::Tpm(tpm.clone()),
        Evidence::AzureVtpm { hcl: vec![9], td_quote: None, tpm },
        Evidence::Token { token: "eyJ".into() },
    ];
    let bundle = Bundle { statement: Some("s".into()), ..Bundle::new(evidence, Collateral::default()) };
    let json = serde_json::to_vec(&bundle).unwrap();
    assert_eq!(Bundle::read(&json).unwrap(), bundle);
    let unknown = String::from_utf8(json).unwrap().replace("\"quote\":", "\"extra\":1,\"quote\":");
    assert_eq!(Bundle::read(unknown.as_bytes()).unwrap_err().code(), "malformed");
}

#[test]
fn the_files_of_vendors_are_told_apart() {
    for (name, platform) in [
        ("tdx/tdx_quote", Platform::Tdx),
        ("sgx/sgx_quote", Platform::Sgx),
        ("tdx/quote-from-tappd.hex", Platform::Tdx),
        ("snp/report_milan.hex", Platform::SevSnp),
        ("snp/vlek/test-vlek-report.bin", Platform::SevSnp),
        ("nvidia/hopperAttestationReport.txt", Platform::NvidiaGpu),
        ("nvidia/multi_gpu_hopper.json", Platform::NvidiaGpu),
        ("nitro/valid-attestation-doc-bytes", Platform::Nitro),
    ] {
        let Some(file) = recorded(name) else { continue };
        assert_eq!(Bundle::read(&file).unwrap().evidence[0].platform(), platform, "{name}");
    }
}

#[test]
fn other_files_are_refused() {
    for bytes in [&b""[..], b"hello", b"{}", b"[]", br#"{"format":"x","evidence":[]}"#, &[0x11, 0xe1]] {
        assert_eq!(Bundle::read(bytes).unwrap_err().code(), "malformed", "{bytes:?}");
    }
}
