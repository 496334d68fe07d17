//! Generations that have ended: read for receipts, never written.

use std::sync::Arc;

use colophon_receipt::receipt::MAX_ANCHORS;
use colophon_receipt::statement::{Genesis, STATEMENT_TYPE, Statement};
use colophon_signer::cose::Sign1;
use object_store::ObjectStore;

use super::check_link;
use crate::anchor::Anchors;
use crate::head::SignedHead;
use crate::index::Target;
use crate::log::LogReader;
use crate::store::Store;
use crate::witness::COSIGNED;

/// One generation that has ended.
#[derive(Debug)]
pub(crate) struct Older {
    pub(crate) reader: LogReader,
    /// Its last checkpoint.
    pub(crate) head: SignedHead,
    /// With witnesses' signatures, if they saw its end.
    cosigned: Option<SignedHead>,
    pub(crate) vkey: String,
    /// Its timestamps.
    pub(crate) anchors: Anchors,
}

impl Older {
    async fn open(
        store: &Arc<dyn ObjectStore>,
        dated: &Arc<dyn ObjectStore>,
        generation: u32,
    ) -> Result<Older, String> {
        check_link(store, generation + 1).await?;
        let opened = LogReader::open(store.clone(), generation).await;
        let (reader, head) = opened.map_err(|e| e.to_string())?;
        let genesis = reader.entry(0, &head.checkpoint).await.map_err(|e| e.to_string())?;
        let genesis = Genesis::decode(&genesis).map_err(|e| e.to_string())?;
        let keys = genesis.vkeys.iter().filter_map(|vkey| vkey.parse().ok());
        let key = keys.into_iter().find(|key| SignedHead::parse(&head.note, key).is_ok());
        let key = key.ok_or("its checkpoint is not signed by a key of its genesis")?;
        let folder = format!("log/{generation}");
        let files = Store::new(store.clone(), folder.clone());
        let cosigned = files.get(COSIGNED, crate::head::MAX_FILE).await.ok().flatten();
        let cosigned = cosigned.and_then(|bytes| String::from_utf8(bytes.into()).ok());
        let cosigned = cosigned.and_then(|note| SignedHead::parse(&note, &key).ok());
        let cosigned = cosigned.filter(|cosigned| cosigned.size() <= head.size());
        let (vkey, keys, dated) = (key.to_string(), vec![key], Store::new(dated.clone(), folder));
        let anchors = Anchors::open(dated, keys, MAX_ANCHORS).await.map_err(|e| e.to_string())?;
        Ok(Older { reader, head, cosigned, vkey, anchors })
    }

    /// Its last checkpoint, and where timestamps over it are kept.
    pub(crate) fn end(&self) -> (SignedHead, Anchors) {
        (self.head.clone(), self.anchors.clone())
    }

    /// The checkpoint to prove leaf `index` by.
    pub(crate) fn head_for(&self, index: u64) -> &SignedHead {
        self.cosigned.as_ref().filter(|head| head.size() > index).unwrap_or(&self.head)
    }
}

/// All generations before `newest`, newest first, of a log in `store` whose timestamps are in `dated`: a log that another process keeps
/// shows its files and no lists of them. One that cannot be read or is not linked is left out, and told.
pub(crate) async fn older(
    store: &Arc<dyn ObjectStore>,
    dated: &Arc<dyn ObjectStore>,
    newest: u32,
) -> Vec<Older> {
    let mut all = Vec::new();
    for generation in (1..newest).rev() {
        match Older::open(store, dated, generation).await {
            Ok(older) => all.push(older),
            Err(why) => tracing::error!(
                generation,
                why,
                "an earlier generation of the log cannot be used: its receipts cannot be fetched, and its key is not \
                 among those given out"
            ),
        }
    }
    all
}

/// Whether log entry `entry` is the statement that an index row names: rows do not say which generation they are of.
pub(crate) fn is_statement(entry: &[u8], target: &Target) -> bool {
    let Ok(signed) = Sign1::parse(entry) else { return false };
    signed.content_type() == STATEMENT_TYPE
        && Statement::decode(signed.payload())
            .is_ok_and(|statement| statement.shard == target.shard && statement.seq == target.seq)
}
