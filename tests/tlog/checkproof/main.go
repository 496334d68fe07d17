// Command checkproof reads a C2SP tlog-proof with Go's own note, Merkle and cosignature code: none of it is Colophon's.
//
//	checkproof PROOF ENTRY LOG-VKEY [WITNESS-VKEY…]
//
// It ends with 0 if the entry is in the tree that the log signed and every witness named cosigned.
package main

import (
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"

	"filippo.io/torchwood"
	f_note "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 4 {
		log.Fatal("usage: checkproof PROOF ENTRY LOG-VKEY [WITNESS-VKEY…]")
	}
	proof, err := os.ReadFile(os.Args[1])
	check(err)
	entry, err := os.ReadFile(os.Args[2])
	check(err)
	head, signed, ok := strings.Cut(string(proof), "\n\n")
	if !ok {
		log.Fatal("no empty line")
	}
	lines := strings.Split(head, "\n")
	if len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" {
		log.Fatal("not a tlog-proof")
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
	check(err)
	var path tlog.RecordProof
	for _, line := range lines[2:] {
		hash, err := tlog.ParseHash(line)
		check(err)
		path = append(path, hash)
	}
	logKey, err := note.NewVerifier(os.Args[3])
	check(err)
	verifiers := []note.Verifier{logKey}
	for _, vkey := range os.Args[4:] {
		witness, err := f_note.NewVerifierForCosignatureV1(vkey)
		check(err)
		verifiers = append(verifiers, witness)
	}
	opened, err := note.Open([]byte(signed), note.VerifierList(verifiers...))
	check(err)
	if len(opened.Sigs) != len(verifiers) {
		log.Fatalf("%d of %d signed", len(opened.Sigs), len(verifiers))
	}
	checkpoint, err := torchwood.ParseCheckpoint(opened.Text)
	check(err)
	if checkpoint.Origin != logKey.Name() {
		log.Fatal("another log")
	}
	check(tlog.CheckRecord(path, checkpoint.N, checkpoint.Hash, index, tlog.RecordHash(entry)))
	fmt.Printf("entry %d of %d, %d cosignatures\n", index, checkpoint.N, len(opened.Sigs)-1)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
