/* How several writers put leaves in order with create-if-absent alone (ledger/src/log.rs, log/open.rs, head.rs).
 *
 * N writers append K leaves each, one after another. In all they may crash CRASHES times, at any step, and storage may
 * fail FAULTS times, before or after it did what was asked. A writer that failed asks again with the same leaf; one that
 * crashed opens the log again and appends what of its own is not in it.
 *
 * The step from create to tiles, state, signature and checkpoint is the code's. Whatever is one object-store request is
 * one atomic step here. Asserted:
 *   fork       no two signed heads contradict each other
 *   unwritten  a head is signed only when tiles spell out every leaf below it
 *   state      the state outside the store has a head before it is signed, and never goes back
 *   rollback   the published checkpoint never gets smaller
 *   twice      no leaf is in the log twice
 *   lost       at the end every leaf is there, under the published checkpoint
 *
 * `cargo xtask model` checks this with spin, and that each of the seeded mistakes is found:
 *   SIGN_FIRST  the head is signed before the create is known to have succeeded
 *   PLAIN_PUT   entries are written without "if absent"
 *   NO_COMPARE  an entry that is there already is taken for another writer's, whatever it holds
 *   TILES_LATE  the checkpoint is published before the tiles are written
 *   STATE_LATE  the state outside is written after the signature
 *   BLIND_HEAD  the checkpoint is replaced without comparing
 */

#ifndef N
#define N 2
#endif
#ifndef K
#define K 2
#endif
#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef FAULTS
#define FAULTS 2
#endif

/* Entries that a run can create, mistakes included. */
#define MAX (N * K + CRASHES + FAULTS + 1)
#define LEAF(w, k) ((w) * K + (k) + 1)

byte seq[MAX];    /* seq/<n>: the leaf of each entry; 0 where there is none */
byte tile[MAX];   /* what the tiles say */
byte head;        /* the published checkpoint's size */
byte state[N];    /* each writer's state outside the store: a size */
byte told[MAX]; /* what signed heads say of each leaf */
byte crashes = CRASHES;
byte faults = FAULTS;

#ifdef NO_COMPARE
#define IS_OWN(entry) 0
#else
#define IS_OWN(entry) ((entry) == leaf)
#endif

#define CRASH if :: atomic { crashes > 0 -> crashes-- }; goto open :: skip fi

inline find_newest() {
	d_step {
		next = 0;
		k = 0;
		do
		:: next < MAX && seq[next] != 0 ->
			view[next] = seq[next];
			if :: view[next] > w * K && view[next] <= (w + 1) * K -> k++ :: else fi;
			next++
		:: else -> break
		od;
		i = 0
	}
}

/* The log's key signs the head of `size` leaves as this writer sees them. */
inline sign(size) {
	d_step {
		i = 0;
		do
		:: i < size ->
			assert(told[i] == 0 || told[i] == view[i]);          /* fork */
			told[i] = view[i];
			i++
		:: else -> break
		od;
		i = 0
	}
}

inline published(size) {
	d_step {
		assert(size >= head);                                        /* rollback */
		assert(state[w] >= size);                                    /* state */
		head = size;
		i = 0;
		do
		:: i < size -> assert(tile[i] == told[i]); i++             /* unwritten */
		:: else -> break
		od;
		i = 0
	}
}

proctype writer(byte w) {
	byte view[MAX];
	byte next, k, i, seen;
	byte pending, leaf;  /* `pending` is 1 + the number of an entry that may or may not have been created */

open:
	pending = 0;
	leaf = 0;
	find_newest();
	if
	:: next > 0 -> goto write_newest  /* redo the newest entry: tiles, state, checkpoint */
	:: else -> goto append
	fi;

append:
	CRASH;
	if
	:: k == K -> goto finished
	:: else -> leaf = LEAF(w, k)
	fi;

	/* What became of an append that failed? */
	if
	:: pending > 0 && pending - 1 < next -> pending = 0; goto publish
	:: pending > 0 && pending - 1 >= next ->
		atomic {
			i = pending - 1;
			pending = 0;
			if
			:: seq[i] == 0 -> i = 0
			:: seq[i] != 0 -> seen = IS_OWN(seq[i]); view[next] = seq[i]; i = 0; next++; goto write_found
			fi
		}
	:: else
	fi;

create:
	CRASH;
#ifdef SIGN_FIRST
	view[next] = leaf;
	sign(next + 1);
	CRASH;
#endif
	atomic {
		if
		:: faults > 0 -> faults--; pending = next + 1; goto append                       /* failed, not done */
#ifdef PLAIN_PUT
		:: true ->
#else
		:: seq[next] == 0 ->
#endif
			seq[next] = leaf;
			if
			:: faults > 0 -> faults--; pending = next + 1; goto append                     /* done, said to have failed */
			:: true -> seen = 1
			fi
#ifndef PLAIN_PUT
		:: seq[next] != 0 -> seen = IS_OWN(seq[next])                                      /* another was faster, or we were */
#endif
		fi;
		view[next] = seq[next];
		next++
	}

write_found:
	CRASH;
#ifndef TILES_LATE
	tile[next - 1] = view[next - 1];
#endif
	if
	:: seen == 0 -> goto create  /* try the next number */
	:: else -> goto publish
	fi;

write_newest:
	tile[next - 1] = view[next - 1];

publish:
	CRASH;
#ifndef STATE_LATE
	atomic { assert(next >= state[w]); state[w] = next }            /* state */
	CRASH;
#endif
	sign(next);
	CRASH;
read_head:
	seen = head;
	CRASH;
#ifdef BLIND_HEAD
	published(next);
#else
	atomic {
		if
		:: seen >= next                                              /* never by a smaller one */
		:: seen < next && head == seen -> published(next)            /* compare-and-swap */
		:: seen < next && head != seen -> goto read_head
		fi
	}
#endif
#ifdef STATE_LATE
	state[w] = next;
#endif
#ifdef TILES_LATE
	tile[next - 1] = view[next - 1];
#endif
	/* The append has returned: its caller goes on with the next leaf. */
	d_step {
		i = 0;
		k = 0;
		do
		:: i < next ->
			if :: view[i] > w * K && view[i] <= (w + 1) * K -> k++ :: else fi;
			i++
		:: else -> break
		od;
		i = 0;
		seen = 0;
		pending = 0
	}
	goto append;

finished:
	skip
}

init {
	byte w, n, count;
	atomic {
		w = 0;
		do :: w < N -> run writer(w); w++ :: else -> break od
	}
	_nr_pr == 1;
	d_step {
		w = 1;
		do
		:: w <= N * K ->
			count = 0;
			n = 0;
			do
			:: n < MAX -> if :: seq[n] == w -> count++; assert(n < head) :: else fi; n++ /* lost */
			:: else -> break
			od;
			assert(count <= 1);                                         /* twice */
			assert(count == 1);                                         /* lost */
			w++
		:: else -> break
		od
	}
}
