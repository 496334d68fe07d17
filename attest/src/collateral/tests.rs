use super::*;
use crate::testing::recorded;

#[test]
fn the_files_of_vendors_are_read() {
    let Some(file) = recorded("tdx/tdx_quote_collateral.json") else { return };
    assert!(Collateral::read(&file).unwrap().intel.is_some());
    let (Some(pem), Some(der)) = (recorded("snp/cert_chain_milan"), recorded("snp/vcek_milan.der")) else {
        return;
    };
    assert_eq!(Collateral::read(&pem).unwrap().certificates.len(), 2);
    assert_eq!(Collateral::read(&der).unwrap().certificates, [der]);
    assert!(Collateral::read(br#"{"keys":[]}"#).unwrap().jwks.is_some());
}

#[test]
fn anything_else_is_refused() {
    for bytes in
        [&b"hello"[..], b"", b"{}x", br#"{"unknown": 1}"#, b"-----BEGIN CERTIFICATE-----\nx", &[0x30, 0x00]]
    {
        assert!(Collateral::read(bytes).is_err(), "{bytes:?}");
    }
    assert_eq!(Collateral::read(&vec![b' '; MAX_BYTES + 1]).unwrap_err().code(), "malformed");
}
