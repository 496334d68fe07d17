//! What an export tells the person who opens it.

use colophon_signer::note::VerifierKey;
use colophon_verify::count::Count;
use colophon_verify::edge;
use colophon_verify::folder::Manifest;

/// `README.md` of an export.
pub(super) fn text(manifest: &Manifest, count: &Count) -> String {
    let Manifest { origin, from, to, first, end, receipts, .. } = manifest;
    let whose = match &manifest.shard {
        Some(shard) => format!("the shard or sidecar `{}`", crate::cli::term::safe_line(shard)),
        None => "all sidecars of the log".to_owned(),
    };
    let origin = crate::cli::term::safe_line(origin);
    let (from, to, recorded) = (edge(*from), edge(*to), count.totals.recorded);
    let receipt_line = match receipts {
        true => {
            "- `receipts/`: one receipt for each record, by the hour (UTC) in which it was accepted\n- `policy/`: what the \
                 policies said that were in force, each named by its SHA-256, which the records name\n"
        }
        false => "- no receipts: this export shows how many records there are, not what they say\n",
    };
    format!(
        "# An export of the log {origin}
{recorded} recorded exchanges of {whose}, from {from} to {to} by the operator's clock. Whole batches: at both edges
there may be a few records more than the interval has.

## Check it
Get the operator's trust file from a source that you have reason to trust: not from here, and not from whoever sent you
this. Then, on a machine of your own:

    colophon-verify THIS_FOLDER --trust THE_TRUST_FILE.json

Exit code 0: everything holds. 1: something is wrong. 3: nothing is wrong, but something that trust needs is missing.
The same works on the `.tar.zst` without unpacking it.

## What is here
- `export.json`: what this export says it holds. Only a hint where to look
- `log/`: the log's signed checkpoint, its entries {first} to {end}, and the tiles that show them to be in it (C2SP
  tlog-tiles)
{receipt_line}- `trust.json`: a copy of the log's key, for comparison. The verifier never uses it

## What it shows
- The holder of the log's key committed to these statements, in this order, in one log of which they were not removed.
- Each sidecar's statements follow one another without a hole, by number, hash and time, and say how many exchanges were
  recorded, passed unrecorded by rule, lost, or kept under trouble. Their counters balance.
- Where receipts are here: each record is in the batch that a statement signs, each has one receipt, and none is left
  out of those counted.

## What it does not show
- That no inference bypassed the sidecars. What no sidecar saw is in no count.
- When anything happened, beyond the operator's own clock, unless a receipt carries a timestamp by somebody else.
- That the operator shows everybody the same log, unless witnesses signed its checkpoint.
- That any answer is true, safe or unbiased, or that the named model made it.
"
    )
}

/// A trust file of these keys.
pub(super) fn trust(keys: &[VerifierKey]) -> String {
    let logs: Vec<_> =
        keys.iter().map(|key| serde_json::json!({"origin": key.name(), "vkey": key.to_string()})).collect();
    format!("{:#}\n", serde_json::json!({"format": "colophon-trust-v1", "logs": logs}))
}
