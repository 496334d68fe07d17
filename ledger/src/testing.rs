//! The readers of what lies on disks and in the private store, on their own: for fuzz targets.

pub use crate::attest::note::testing::read_note;
pub use crate::private::testing::read_openings;
pub use crate::wal::testing::{Segment, framed, read_segment};
