// Command logged runs a log of someone else's, tessera on a folder, that has to be cosigned before it publishes:
//
//	logged FOLDER POLICY ENTRIES
//
// It makes a key, prints its verifier key, waits for a line on standard input (so that the witness can be started with
// that key), adds the entries one after another, waits until each is under a cosigned checkpoint, and prints the last.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
)

func main() {
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	skey, vkey, err := note.GenerateKey(rand.Reader, "tessera.example/log")
	check(err)
	fmt.Println(vkey)
	_, err = bufio.NewReader(os.Stdin).ReadString('\n')
	check(err)

	entries, err := strconv.Atoi(os.Args[3])
	check(err)
	policy, err := os.ReadFile(os.Args[2])
	check(err)
	witnesses, err := tessera.NewWitnessGroupFromPolicy(policy)
	check(err)
	signer, err := note.NewSigner(skey)
	check(err)
	driver, err := posix.New(ctx, posix.Config{Path: os.Args[1]})
	check(err)
	appender, shutdown, reader, err := tessera.NewAppender(ctx, driver, tessera.NewAppendOptions().
		WithCheckpointSigner(signer).
		WithCheckpointInterval(200*time.Millisecond).
		WithBatching(1, 50*time.Millisecond).
		WithWitnesses(witnesses, nil))
	check(err)
	await := tessera.NewPublicationAwaiter(ctx, reader.ReadCheckpoint, 50*time.Millisecond)
	var checkpoint []byte
	for n := range entries {
		_, checkpoint, err = await.Await(ctx, appender.Add(ctx, tessera.NewEntry(fmt.Appendf(nil, "entry %d", n))))
		check(err)
	}
	check(shutdown(ctx))
	os.Stdout.Write(checkpoint)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
