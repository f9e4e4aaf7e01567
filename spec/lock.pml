/*
 * The lock and state protocol of Statelatch, as a model for Spin. README.md tells how to read and run it.
 *
 *   store.pml    the bucket, the table, the network; what must never happen
 *   managed.pml  our client: packages lock and state
 *   engine.pml   terraform and tofu as they are, and the person who types force-unlock
 *
 * A run is a choice of the parameters below, given with -D. ./check holds the runs.
 */

/* Who takes part. Clients are numbered from 0; a mask has one bit for each. */
#ifndef NC
#define NC 2                    /* clients */
#endif
#ifndef TENURES
#define TENURES 1               /* acquisitions, one after the other, of each client of ours */
#endif
#ifndef ENGINES
#define ENGINES 0               /* mask: plain terraform or tofu instead of our client */
#endif
#ifndef NOFILE
#define NOFILE 0                /* mask: locks the table only (an engine without use_lockfile) */
#endif
#ifndef TABLE
#define TABLE 0                 /* mask: locks the DynamoDB table too */
#endif
#ifndef TOFU
#define TOFU 0                  /* mask: deletes its table item on condition, as tofu does and terraform does not */
#endif
#ifndef UNLOCKERS
#define UNLOCKERS 0             /* mask: `statelatch force-unlock`: take over, touch, release */
#endif
#ifndef WRAPPERS
#define WRAPPERS 0              /* mask: `statelatch run`: our lock, but an engine writes the state, without a condition */
#endif
#ifndef ROLLBACKS
#define ROLLBACKS 0             /* mask: writes the first state's content again instead of an update */
#endif
#ifndef RECOVER
#define RECOVER 0               /* 1: one more client of ours starts when all others have stopped, and must finish.
                                   2: and a person lets it replace any table item */
#endif

/* What may go wrong, and how often. */
#ifndef LOSS
#define LOSS 0                  /* requests that a client gives up waiting for, per client in LOSSY */
#endif
#ifndef LOSSY
#define LOSSY 255
#endif
#ifndef TAKEOVERS
#define TAKEOVERS 0             /* in all, at any time: no clock is believed */
#endif
#ifndef FORCE
#define FORCE 0                 /* plain `terraform force-unlock`, in all */
#endif
#ifndef CRASH
#define CRASH 0                 /* processes that die, in all, at any step; of those in MORTAL */
#endif
#ifndef MORTAL
#define MORTAL 255
#endif
#ifndef RESTART
#define RESTART 0               /* 1: a process that died is started again with the ID it had written down, and unlocks */
#endif

/* What our client does. */
#ifndef TOUCH
#define TOUCH 1                 /* the fence: 0 never, 1 after a takeover (R6), 2 at every acquisition (R10) */
#endif
#ifndef RENEW
#define RENEW 0                 /* renewals per tenure, each at any moment of it */
#endif
#ifndef TRIES
#define TRIES 1                 /* how often it goes back to the beginning of anything */
#endif

#ifndef ITEM_FIRST
#define ITEM_FIRST 0            /* after a takeover: 0 fence, then lock the table; 1 the other way round */
#endif
#ifndef BLANK
#define BLANK 0                 /* 1: the first state is an object of zero bytes, or none */
#endif
#ifndef STOPPED
#define STOPPED 0               /* when a lease is believed to be over, see managed.pml */
#endif

/* Rules left out: NO_R1, NO_R1_TOUCH, NO_R2, NO_R3, NO_R4, NO_R5, NO_R7, NO_R7_TAKEOVER, NO_R8, NO_R9, NO_R11, NO_R12
 * (for R6 and R10 there is TOUCH), NO_FENCE_UNLOCK, NO_FENCE_TAKEBACK, NO_PREV, NO_CLAIM.
 * OBJECT_FIRST: a release removes the lock object before the item, as the engines do.
 * WEAK: the store has no conditional delete (R13). NO_PATIENCE: a delete without an answer is sent again at once.
 * FORCE_IDLE: only locks of clients that have written are forced.
 * Properties: see store.pml. */

#define IN(mask, c) (((mask) >> (c)) & 1)

#include "store.pml"
#include "managed.pml"
#include "engine.pml"

init {
  atomic {
    i = 0;
    do
    :: i < SLOTS -> run Link(i); i++
    :: else -> break
    od;
    i = 0;
    do
    :: i < NC ->
       if
       :: IN(ENGINES, i) -> run Engine(i)
       :: else -> run Client(i, 0)
       fi;
       i++
    :: else -> break
    od;
#if RECOVER
    run Client(NC, 1);
#endif
#if FORCE
    run Operator();
#endif
#if CRASH
    run Reaper();
#endif
#ifdef P_GHOST
    run Watch();
#endif
    i = 0
  }
}
