//! Files of openings, as far as they are read without keys.

use super::file::{Head, Page};

/// Reads the head, and every page that it leads to; how many openings are in the clear and read.
pub fn read_openings(bytes: &[u8]) -> usize {
    let Ok(head) = Head::read(bytes) else { return 0 };
    let Ok(pages) = head.pages(bytes) else { return 0 };
    let mut clear = 0;
    for (slot, page) in (0..).zip(pages) {
        match head {
            Head::Clear(_) => clear += usize::from(super::read(page).is_ok()),
            Head::Sealed(..) => _ = Page::read(page, slot),
            Head::Gone(..) => {}
        }
    }
    clear
}
