// What others make of an exported proof: `node check.mjs EXPORT CIRCUIT PACKAGES`, the last the folder where package.json was installed. Prints
// one line of JSON: what the contract says in an EVM of this proof and of bent ones, and what EZKL's engine for Node says.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [exported, circuit, packages] = process.argv.slice(2);
const require = createRequire(pathToFileURL(join(packages, "package.json")));
const { createEVM } = await import(pathToFileURL(require.resolve("@ethereumjs/evm")));
const { hexToBytes, createAddressFromString } = await import(pathToFileURL(require.resolve("@ethereumjs/util")));
const solc = require("solc");
const engine = require("@ezkljs/engine/nodejs/ezkl.js");

function compile(source) {
  const input = {
    language: "Solidity",
    sources: { "verifier.sol": { content: source } },
    settings: { optimizer: { enabled: true, runs: 1 }, outputSelection: { "*": { "*": ["evm.bytecode.object", "evm.deployedBytecode.object"] } } },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input)));
  const wrong = (output.errors ?? []).find((error) => error.severity === "error");
  if (wrong) throw new Error(wrong.formattedMessage);
  return output.contracts["verifier.sol"].Halo2Verifier.evm;
}

const code = compile(readFileSync(join(exported, "verifier.sol"), "utf8"));
// The tiny language model's contract is larger than a public chain deploys.
const evm = await createEVM({ allowUnlimitedContractSize: true });
const caller = createAddressFromString("0x" + "11".repeat(20));
const run = (more) => evm.runCall({ caller, gasLimit: 1_000_000_000n, skipBalance: true, ...more });
const { createdAddress: to } = await run({ data: hexToBytes("0x" + code.bytecode.object) });
async function verdict(data) {
  const { execResult } = await run({ to, data });
  const word = Buffer.from(execResult.returnValue).toString("hex");
  return { accepted: !execResult.exceptionError && word === "1".padStart(64, "0"), gas: Number(execResult.executionGasUsed) };
}

const calldata = readFileSync(join(exported, "calldata"));
// Selector, two offsets, then the proof's length and bytes, then the instances' count and words.
const at = (offset) => 4 + Number(calldata.readBigUInt64BE(4 + offset + 24));
const instances = Number(calldata.readBigUInt64BE(at(32) + 24));
const places = { proof: at(0) + 32 + 1000, found: at(32) + 32 + 31, bound: at(32) + 32 + 32 * instances - 1 };
const bent = {};
for (const [what, place] of Object.entries(places)) {
  const other = Buffer.from(calldata);
  other[place] ^= 1;
  bent[what] = (await verdict(other)).accepted;
}

const bytes = (name) => new Uint8ClampedArray(readFileSync(join(circuit, name)));
function node(proof) {
  try {
    return engine.verify(new Uint8ClampedArray(Buffer.from(JSON.stringify(proof))), bytes("vk"), bytes("settings.json"), bytes("srs"));
  } catch (error) {
    return String(error);
  }
}
const proof = JSON.parse(readFileSync(join(exported, "proof.json"), "utf8"));
const other = structuredClone(proof);
other.instances[0][0] = (proof.instances[0][0].startsWith("00") ? "01" : "00") + proof.instances[0][0].slice(2);
const { transcript_type: _, ...untyped } = proof;

console.log(
  JSON.stringify({
    contract: { bytes: code.deployedBytecode.object.length / 2, ...(await verdict(calldata)), bent },
    node: { good: node(proof), bent: node(other), untyped: node(untyped) },
  }),
);
