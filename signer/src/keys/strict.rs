//! Refuses the encodings on which Ed25519 libraries disagree, so that the choice of library cannot change a verdict.

use super::{SIGNATURE_LEN, SignatureError};

/// The y coordinates (little-endian, sign bit cleared) of the eight points of small order.
const SMALL_ORDER_Y: [[u8; 32]; 5] = [
    // 0: the two points of order 4.
    [0; 32],
    // 1: the neutral element.
    first_and_last(0x01, 0x00, 0x00),
    // -1: the point of order 2.
    first_and_last(0xec, 0xff, 0x7f),
    // The four points of order 8.
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, //
        0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, //
        0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

const fn first_and_last(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut y = [middle; 32];
    y[0] = first;
    y[31] = last;
    y
}

/// Refuses a public key or an R that is not canonically encoded or has small order. Public data: not constant-time.
pub(super) fn check(public: &[u8; 32], sig: &[u8; SIGNATURE_LEN]) -> Result<(), SignatureError> {
    let mut r = [0; 32];
    r.copy_from_slice(&sig[..32]);
    if is_sound(public) && is_sound(&r) { Ok(()) } else { Err(SignatureError::WeakPoint) }
}

fn is_sound(point: &[u8; 32]) -> bool {
    let mut y = *point;
    y[31] &= 0x7f;
    // y is canonical below p = 2^255 - 19. (The other non-canonical form, x = 0 with the sign bit, has small order.)
    let below_p = y[31] != 0x7f || y[1..31].iter().any(|byte| *byte != 0xff) || y[0] < 0xed;
    below_p && !SMALL_ORDER_Y.contains(&y)
}
