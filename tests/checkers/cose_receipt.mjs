// An RFC 9943 Transparent Statement with an RFC 9942 COSE Receipt, by npm `@transmute/cose`: it takes the messages apart
// and computes the root from the proof. The one thing it cannot do is Ed25519, which is node:crypto's.
//
// usage: node cose_receipt.mjs TRANSPARENT_STATEMENT PUBLIC_KEY_IN_HEX ROOT_IN_HEX SIZE STATEMENT_IN_BASE64

import { createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(process.env.NODE_MODULES + "/");
const cose = require("@transmute/cose");
const [file, key, root, size, statement] = process.argv.slice(2);

function ok(condition, what) {
  console.log(`${condition ? "ok" : "not ok"} - ${what}`);
  if (!condition) process.exit(1);
}

const jwk = { kty: "OKP", crv: "Ed25519", x: Buffer.from(key, "hex").toString("base64url") };
const publicKey = createPublicKey({ key: jwk, format: "jwk" });
const verifier = {
  verify: async ({ coseSign1, payload }) => {
    const { value } = cose.cbor.decode(coseSign1);
    const signed = ["Signature1", value[0], Buffer.alloc(0), Buffer.from(payload)];
    if (!verify(null, cose.cbor.encode(signed), publicKey, value[3])) throw new Error("signature");
    return payload;
  },
};

const transparent = readFileSync(file);
const receipts = await cose.receipt.get(transparent);
ok(receipts.length === 1, "one receipt");
const entry = Buffer.from(await cose.receipt.remove(transparent));
ok(entry.equals(Buffer.from(statement, "base64")), "without it, the bytes are those that were logged");
const leaf = await cose.receipt.leaf(new Uint8Array(entry));
const receipt = receipts[0];
const head = await cose.receipt.inclusion.verify({ entry: leaf, receipt, verifier });
ok(Buffer.from(head).toString("hex") === root, "the receipt leads to the log's root, and its signature is good");
const header = cose.cbor.decode(cose.cbor.decode(receipt).value[0]);
ok(Number(header.get(-65537)) === Number(size), "the tree's size is under the signature");

const other = await cose.receipt.leaf(new Uint8Array([...entry, 0]));
const refused = await cose.receipt.inclusion.verify({ entry: other, receipt, verifier }).then(() => false, () => true);
ok(refused, "another entry is refused");
