// What others make of an exported proof: `node check.mjs EXPORT CIRCUIT PACKAGES`, the last the folder where package.json was installed. Prints
// one line of JSON: what both contracts say in an EVM of this proof and of bent ones, and what EZKL's engine for Node says.
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

function compile(source, name) {
  const input = {
    language: "Solidity",
    sources: { "verifier.sol": { content: source } },
    settings: { optimizer: { enabled: true, runs: 1 }, outputSelection: { "*": { "*": ["evm.bytecode.object", "evm.deployedBytecode.object", "evm.methodIdentifiers"] } } },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input)));
  const wrong = (output.errors ?? []).find((error) => error.severity === "error");
  if (wrong) throw new Error(wrong.formattedMessage);
  return output.contracts["verifier.sol"][name].evm;
}

const code = compile(readFileSync(join(exported, "verifier.sol"), "utf8"), "Halo2Verifier");
// The tiny language model's contract is larger than a public chain deploys.
const evm = await createEVM({ allowUnlimitedContractSize: true });
const caller = createAddressFromString("0x" + "11".repeat(20));
const run = (more) => evm.runCall({ caller, gasLimit: 1_000_000_000n, skipBalance: true, ...more });
const one = "1".padStart(64, "0");
async function deployed(code) {
  return (await run({ data: hexToBytes("0x" + code.bytecode.object) })).createdAddress;
}
async function verdict(to, data) {
  const { execResult } = await run({ to, data });
  const words = Buffer.from(execResult.returnValue).toString("hex");
  const accepted = !execResult.exceptionError && words.slice(0, 64) === one;
  return { accepted, gas: Number(execResult.executionGasUsed), digest: words.slice(64, 128) };
}
// A call's selector, then an offset for each argument, then the proof's length and bytes, and the instances' count and words.
async function verdicts(code, to, calldata) {
  const at = (offset) => 4 + Number(calldata.readBigUInt64BE(4 + offset + 24));
  const instances = Number(calldata.readBigUInt64BE(at(32) + 24));
  const places = { proof: at(0) + 32 + 1000, found: at(32) + 32 + 31, bound: at(32) + 32 + 32 * instances - 1 };
  const bent = {};
  for (const [what, place] of Object.entries(places)) {
    const other = Buffer.from(calldata);
    other[place] ^= 1;
    bent[what] = (await verdict(to, other)).accepted;
  }
  return { bytes: code.deployedBytecode.object.length / 2, ...(await verdict(to, calldata)), bent };
}
const contract = await verdicts(code, await deployed(code), readFileSync(join(exported, "calldata")));

// The contract for any circuit: this one's key is registered, another is not.
const any = compile(readFileSync(join(exported, "reusable.sol"), "utf8"), "Halo2VerifierReusable");
const to = await deployed(any);
const vka = readFileSync(join(exported, "vka"));
const word = (number) => Buffer.from(number.toString(16).padStart(64, "0"), "hex");
const selector = Buffer.from(any.methodIdentifiers["registerVka(bytes32[])"], "hex");
const calldata = readFileSync(join(exported, "reusable.calldata"));
const before = (await verdict(to, calldata)).accepted;
const registered = await run({ to, data: Buffer.concat([selector, word(32), word(vka.length / 32), vka]) });
const digest = Buffer.from(registered.execResult.returnValue).toString("hex");
const other = Buffer.from(calldata);
other[other.length - 1] ^= 1;
const reusable = { ...(await verdicts(any, to, calldata)), before, key: (await verdict(to, other)).accepted, vka: vka.length };
reusable.digest = reusable.digest === digest;

const bytes = (name) => new Uint8ClampedArray(readFileSync(join(circuit, name)));
function node(proof) {
  try {
    return engine.verify(new Uint8ClampedArray(Buffer.from(JSON.stringify(proof))), bytes("vk"), bytes("settings.json"), bytes("srs"));
  } catch (error) {
    return String(error);
  }
}
const proof = JSON.parse(readFileSync(join(exported, "proof.json"), "utf8"));
const forged = structuredClone(proof);
forged.instances[0][0] = (proof.instances[0][0].startsWith("00") ? "01" : "00") + proof.instances[0][0].slice(2);
const { transcript_type: _, ...untyped } = proof;

console.log(
  JSON.stringify({
    contract,
    reusable,
    node: { good: node(proof), bent: node(forged), untyped: node(untyped) },
  }),
);
