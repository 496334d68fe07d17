//! What others signed. Timestamps: every one that is stored has to be good and about the tree as it was; every beacon that a statement names
//! has to be there, and not younger than what dates the statement.

use std::collections::{HashMap, VecDeque};

use colophon_receipt::Hash;
use colophon_receipt::merkle::sha256;
use colophon_signer::note::VerifierKey;
use colophon_signer::rfc3161::{ChainError, MAX_RESPONSE, Roots, Token};

use super::{Finding, Report};
use crate::anchor::{ENDING, SIZES, beacon_name, folder, imprint};
use crate::head::{self, SignedHead};
use crate::store::Store;
use crate::witness::COSIGNED;

/// Clocks of TSAs may differ by so many µs.
const CLOCK_TOLERANCE: u64 = 300_000_000;

/// The newest timestamp by a TSA of the given roots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewestTimestamp {
    /// Leaves of the checkpoint that it dates.
    pub size: u64,
    /// Its time, µs since the epoch, by the TSA's clock.
    pub time: u64,
    /// The TSA, as its certificate names it, unescaped.
    pub tsa: String,
}

/// The dated checkpoints of a log that is being read, and the beacons in it.
pub(super) struct Anchors {
    store: Store,
    roots: Roots,
    /// Whether beacons have to be there: a copy of the public log may lack them.
    whole: bool,
    /// Sizes still to come, ascending.
    sizes: VecDeque<u64>,
    /// The newest cosigned checkpoint until its tree is there: its size as it says, and the note.
    cosigned: Option<(u64, String)>,
    /// The times of beacons, by hash; none where the token is no good.
    known: HashMap<Hash, Option<u64>>,
    /// Statements that name a beacon, not yet under a dated checkpoint: their index and the beacon's time.
    named: VecDeque<(u64, u64)>,
    /// The latest beacon of a statement so far.
    latest: Option<(u64, u64)>,
}

impl Anchors {
    pub(super) fn new(store: Store, roots: Roots, whole: bool) -> Anchors {
        let (sizes, known, named) = (VecDeque::new(), HashMap::new(), VecDeque::new());
        Anchors { store, roots, whole, sizes, cosigned: None, known, named, latest: None }
    }

    /// Reads the newest cosigned checkpoint, if there is one.
    pub(super) async fn read_cosigned(&mut self, report: &mut Report) {
        match self.store.get(COSIGNED, head::MAX_FILE).await {
            Ok(None) => {}
            Ok(Some(note)) => {
                let text = String::from_utf8_lossy(&note).into_owned();
                match head::claimed_size(&text).filter(|size| *size > 0) {
                    Some(size) => self.cosigned = Some((size, text)),
                    None => self.wrong(COSIGNED.into(), "is no checkpoint", report),
                }
            }
            Err(error) => report.unreadable(&error),
        }
    }

    /// Compares it with the tree of its size.
    fn check_cosigned(&mut self, size: u64, root: &Hash, report: &mut Report) {
        let Some((_, note)) = self.cosigned.take_if(|(claimed, _)| *claimed == size) else { return };
        let Some(key) = report.vkey.as_ref().and_then(|vkey| vkey.parse().ok()) else { return };
        match SignedHead::parse(&note, &key) {
            Ok(head) if head.checkpoint.root == *root => {}
            Ok(_) => self.wrong(
                COSIGNED.into(),
                "is signed for another tree than the one that the log has: the log, and each witness whose line is on it \
                 and on a checkpoint of this tree, vouch for two histories",
                report,
            ),
            Err(error) => self.wrong(COSIGNED.into(), &error.to_string(), report),
        }
    }

    /// Finds out which checkpoints are dated.
    pub(super) async fn list(&mut self, report: &mut Report) {
        let names = match self.store.list(SIZES).await {
            Ok(names) => names,
            Err(error) => return report.unreadable(&error),
        };
        let mut sizes = Vec::with_capacity(names.len());
        for name in names {
            match name.parse::<u64>() {
                Ok(size) if size > 0 && size.to_string() == name => sizes.push(size),
                _ => self.wrong(format!("{SIZES}/{name}"), "is no size of a checkpoint", report),
            }
        }
        sizes.sort_unstable();
        self.sizes = sizes.into();
    }

    /// Takes in that the statement at `index` names a beacon.
    pub(super) async fn beacon(&mut self, index: u64, hash: &Hash, report: &mut Report) {
        let time = match self.known.get(hash) {
            Some(time) => *time,
            None => {
                let time = self.read_beacon(hash, report).await;
                self.known.insert(*hash, time);
                time
            }
        };
        report.beacons += 1;
        self.named.extend(time.map(|time| (index, time)));
    }

    async fn read_beacon(&self, hash: &Hash, report: &mut Report) -> Option<u64> {
        let name = beacon_name(hash);
        let why = match self.store.get(&name, MAX_RESPONSE as u64).await {
            Ok(Some(der)) if sha256(&der) != *hash => {
                "is not the token that statements name by this hash".into()
            }
            Ok(Some(der)) => match Token::parse(&der) {
                Ok(token) => match token.chain(&self.roots) {
                    Ok(_) | Err(ChainError::Unknown) => return Some(token.info().gen_time),
                    Err(error) => error.to_string(),
                },
                Err(error) => error.to_string(),
            },
            Ok(None) if !self.whole => return None,
            Ok(None) => "is missing, though a statement names it".into(),
            Err(error) => {
                report.unreadable(&error);
                return None;
            }
        };
        self.wrong(name, &why, report);
        None
    }

    /// Whether the tree has now a size that is dated.
    pub(super) fn is_due(&self, size: u64) -> bool {
        self.sizes.front() == Some(&size)
            || self.cosigned.as_ref().is_some_and(|(claimed, _)| *claimed == size)
    }

    /// Compares what is stored for the tree of `size` with its root.
    pub(super) async fn check(&mut self, size: u64, root: &Hash, report: &mut Report) {
        self.check_cosigned(size, root, report);
        if self.sizes.front() != Some(&size) {
            return;
        }
        self.sizes.pop_front();
        while let Some((index, time)) = self.named.front().copied().filter(|(index, _)| *index < size) {
            self.named.pop_front();
            if self.latest.is_none_or(|(_, latest)| latest < time) {
                self.latest = Some((index, time));
            }
        }
        // Without the log's key the checkpoint is a finding already.
        let Some(key) = report.vkey.as_ref().and_then(|vkey| vkey.parse().ok()) else { return };
        let folder = folder(size);
        let Some(head) = self.head(&folder, &key, size, root, report).await else { return };
        let Some(imprint) = imprint(&head) else { return };
        let mut names = match self.store.list(&folder).await {
            Ok(names) => names,
            Err(error) => return report.unreadable(&error),
        };
        names.retain(|name| name.ends_with(ENDING));
        names.sort();
        if names.is_empty() {
            self.wrong(folder.clone(), "holds no timestamp, though one was stored", report);
        }
        for name in names {
            let file = format!("{folder}/{name}");
            if let Err(why) = self.token(&file, size, &imprint, report).await {
                self.wrong(file, &why, report);
            }
        }
        report.dated_checkpoints += 1;
    }

    /// The checkpoint that is dated, if it is the log's and this tree's.
    async fn head(
        &self,
        folder: &str,
        key: &VerifierKey,
        size: u64,
        root: &Hash,
        report: &mut Report,
    ) -> Option<SignedHead> {
        let file = format!("{folder}/checkpoint");
        let note = match self.store.get(&file, head::MAX_FILE).await {
            Ok(note) => note,
            Err(error) => {
                report.unreadable(&error);
                return None;
            }
        };
        let text = note.map(|note| String::from_utf8_lossy(&note).into_owned());
        let why = match text.map(|text| SignedHead::parse(&text, key)) {
            None => "is missing, though it was dated".to_owned(),
            Some(Err(error)) => error.to_string(),
            Some(Ok(head)) if head.size() != size => "is of another size than its folder says".into(),
            Some(Ok(head)) if head.checkpoint.root != *root => {
                "is signed for another tree than the one that the log has: this log was rewritten after it was dated".into()
            }
            Some(Ok(head)) => return Some(head),
        };
        self.wrong(file, &why, report);
        None
    }

    async fn token(&self, file: &str, size: u64, imprint: &Hash, report: &mut Report) -> Result<(), String> {
        let der = self.store.get(file, MAX_RESPONSE as u64).await.map_err(|error| error.to_string())?;
        let token = Token::parse(&der.unwrap_or_default()).map_err(|error| error.to_string())?;
        token.check_imprint(imprint).map_err(|error| error.to_string())?;
        let time = token.info().gen_time;
        report.timestamps += 1;
        match token.chain(&self.roots) {
            Ok(chain) => {
                report.trusted_timestamps += 1;
                if report.newest_timestamp.as_ref().is_none_or(|newest| newest.time < time) {
                    report.newest_timestamp = Some(NewestTimestamp { size, time, tsa: chain.tsa });
                }
            }
            Err(ChainError::Unknown) => {}
            Err(error) => return Err(error.to_string()),
        }
        if let Some((index, beacon)) =
            self.latest.filter(|(_, beacon)| *beacon > time.saturating_add(CLOCK_TOLERANCE))
        {
            let later = (beacon - time) / 1_000_000;
            return Err(format!(
                "dates leaf {index}, whose beacon is {later} s later: one of two clocks is wrong"
            ));
        }
        Ok(())
    }

    /// What dates trees that the log has not got.
    pub(super) fn finish(&mut self, report: &mut Report) {
        if self.cosigned.take().is_some() {
            self.wrong(
                COSIGNED.into(),
                "is of more leaves than the log has: it was cut after it was cosigned",
                report,
            );
        }
        for size in std::mem::take(&mut self.sizes) {
            self.wrong(
                folder(size),
                "dates more leaves than the log has: it was cut after it was dated",
                report,
            );
        }
    }

    fn wrong(&self, file: String, what: &str, report: &mut Report) {
        report.find(Finding::Anchor { file: self.store.full(&file), what: what.to_owned() });
    }
}
