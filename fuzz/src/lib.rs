//! What the targets share.

use colophon_policies::Api;

/// An API that has a reader, by a byte of the input.
pub fn api(byte: u8) -> Api {
    const APIS: [Api; 11] = [
        Api::Chat,
        Api::Completions,
        Api::Responses,
        Api::Messages,
        Api::Generate,
        Api::Embeddings,
        Api::Rerank,
        Api::Score,
        Api::Classify,
        Api::Audio,
        Api::Tokenize,
    ];
    APIS[usize::from(byte) % APIS.len()]
}
