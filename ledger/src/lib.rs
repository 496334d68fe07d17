//! WAL, batches, the log and its checkpoints, and the look-up of a receipt by id.

pub mod head;
pub mod log;
pub mod prove;
pub mod sequencer;
pub mod state;
pub mod store;
pub mod tiles;
