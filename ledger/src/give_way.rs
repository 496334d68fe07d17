//! Long work beside the exchanges, in pieces.

/// Lets other threads have the core, those of exchanges above all. Between two pieces of a batch's work: where there is but
/// one core, the kernel lets a thread that does not stop go on for three milliseconds and more, and everybody waits.
pub(crate) fn give_way() {
    std::thread::yield_now();
}
