/*
 * Engines behind the gateway, as a model for Spin. README.md tells how to read and run it.
 *
 * Two gateways on one bucket answer plain engines: lock, read, write, unlock. A request of a client is a job of one
 * gateway. Its steps are single requests to the store; other jobs, clients and deaths come between any two of them.
 * A client may stop waiting and ask again, the same gateway or the other: the job that it left goes on, however late.
 * A gateway may stop waiting for the store, or die: what it had sent is executed at any later moment, or never.
 *
 * A run is a choice of the parameters below, given with -D. ./check holds the runs.
 */

/* Who takes part. Clients are numbered from 0: engines, then persons, then the client on the bucket itself. */
#ifndef NC
#define NC 2                    /* engines; each is a process, so a session */
#endif
#ifndef TENURES
#define TENURES 1               /* how often each engine locks, writes and unlocks, one after the other */
#endif
#ifndef WRITES
#define WRITES 1                /* state writes of a tenure; each has a greater serial, whatever became of the one before */
#endif
#ifndef PLANS
#define PLANS 0                 /* mask: engines that may end without having written, or in the middle */
#endif
#ifndef PERSONS
#define PERSONS 0               /* who types `terraform force-unlock` */
#endif
#ifndef PLAIN
#define PLAIN 0                 /* 1: one more engine, on the bucket itself */
#endif
#ifndef ROUTED
#define ROUTED 0                /* mask: clients who always ask the first gateway */
#endif

/* What may go wrong, and how often. */
#ifndef LOSS
#define LOSS 0                  /* requests that a client of LOSSY stops waiting for: each */
#endif
#ifndef LOSSY
#define LOSSY 255
#endif
#ifndef LOST_KINDS
#define LOST_KINDS 7            /* of what: 1 lock, 2 write, 4 unlock */
#endif
#ifndef UPLOSS
#define UPLOSS 0                /* writes that a gateway stops waiting for, in all */
#endif
#ifndef CRASH
#define CRASH 0                 /* deaths of a gateway, in all; it is started again at once, and knows nothing */
#endif

/*
 * Rules left out: NO_OWN, NO_OWN_MARK, DROP_ANY, NO_NONCE, NO_LOCK_CHECK, NO_IF_MATCH, LOCK_FIRST, NO_SERIAL, NO_SAME, NO_DELETE_IF,
 * NO_REPLAY, NO_AGE, NO_TAKEOVER, NO_TOUCH, NO_TOUCH_NONCE, NO_OVER, NO_NAME, NO_MARK, NO_MARK_TO_RELEASE, NO_UNKNOWN,
 * NO_MARK_UNKNOWN, NO_LINE, NO_LEAVING, NO_SIGNED. SHARED_KEY: all engines use one static key.
 */

#define IN(mask, n) (((mask) >> (n)) & 1)
#define BIT(n)      (1 << (n))

#define CLIENTS     (NC + PERSONS + PLAIN)
#define FIRST_ID(c) ((c) < NC -> (c) * TENURES + 1 : NC * TENURES + 1 + (c) - NC)
#define SESSION(id) ((id) <= NC * TENURES -> ((id) - 1) / TENURES : NC + (id) - 1 - NC * TENURES)
#ifdef SHARED_KEY
#define SAME_SESSION(id, c) (SESSION(id) == (c) || (SESSION(id) < NC && (c) < NC))
#else
#define SAME_SESSION(id, c) (SESSION(id) == (c))
#endif

mtype = { executes, refuses, late, in_time, Create, Mark, TakeOver, Delete, Put, Touch };

/* The store. An ETag is fresh for every write that lands, as nonces make it: it is a number that no job remembers. */
byte lock_id = 0;               /* whose lock it is; 0: there is none */
byte lock_etag = 0;
byte lock_gw = 0;               /* the gateway that the lock names: */
bit  lock_over = 0;             /* it was taken over by somebody who forces it away */
byte lock_younger = 0;          /* mask: sessions that began before this lock was acquired: it is younger than they */
byte state_etag = 1;
byte state = 0, serial = 0;     /* the updates that are in the state, one bit each; the serial */

#define Nobody 2                /* a gateway process that is no more */
#define Direct 3                /* none: a lock of the client on the bucket */

/* Jobs. Each client has a few slots: one more than requests that it may lose track of. */
#define PER   (1 + LOSS + UPLOSS + CRASH)
#define SLOTS ((NC + PERSONS) * PER)

/* Where a job stands. What is sent to the store ends in its execution, whether or not the gateway still waits. */
#define Idle      0
#define CreateSent  1           /* lock: create-if-absent */
#define LockLook    2           /* lock: refused; GET lock */
#define WriteStart  3           /* write: GET state, */
#define WriteAgain  4           /*   the same after a refusal */
#define WriteLook   5           /*   GET lock */
#define WriteMark   6           /*   swap the lock for one that names this gateway */
#define WritePut    7           /*   PUT state If-Match */
#define OpenStart   8           /* unlock: GET lock */
#define OpenAgain   9           /*   the same after a refusal */
#define OpenMark    10          /*   swap the lock for one that names this gateway */
#define OpenTake    11          /*   takeover by somebody who forces it away */
#define TouchRead   12          /*   GET state, */
#define TouchPut    13          /*   PUT of the same If-Match */
#define OpenDelete  14          /*   DELETE lock If-Match */
#define LockStart   15          /* lock: waits in line */
#define LockMark    16          /*   it has been acquired through another gateway: swap it for one that names this one */
#define LockDrop    17          /*   its client has gone: DELETE lock If-Match */
#define SENT(at) ((at) == LockMark || (at) == LockDrop || (at) == CreateSent || (at) == WriteMark || (at) == WritePut || (at) == OpenMark || (at) == OpenTake || \
                  (at) == TouchPut || (at) == OpenDelete)

/* Answers. */
#define Yes   1
#define No    2
#define Error 3                 /* 5xx, or the connection is gone: the SDK asks again */

#define Waits   0               /* does the gateway wait for the store's answer? */
#define Unknown 1               /* not any more: the outcome is unknown to it */
#define Dead    2               /* it is dead */

/* lock, state: ETags that were read; content, serial: of the write; judged: what was found of its serial */
typedef Job {
  byte at; byte id; bit g; bit again;
  bit waited; byte answer; byte gone;
  byte lock; byte state; byte content; byte serial; byte judged
}
Job j[SLOTS];
#define CLEAR(s) j[s].at = Idle; j[s].id = 0; j[s].g = 0; j[s].again = 0; j[s].waited = 0; j[s].answer = 0; j[s].gone = 0; \
                 j[s].lock = 0; j[s].state = 0; j[s].content = 0; j[s].serial = 0; j[s].judged = 0

#define LINE(s) ((s) / PER * 2 + j[s].g)
#define FREE_LINES i = 0; do :: i < NC + PERSONS -> busy[i * 2 + g] = 0; i++ :: else -> break od;

#define Refused 0
#define Newer   1
#define Same    2               /* this very write is what is stored */

/* What a gateway process knows, and forgets when it dies. */
byte busy[2 * (NC + PERSONS)];  /* of each session, the slot, from 1, of the job that is done: one at a time */
byte unsure[2];                 /* mask: tenures with a write that may still come, as far as this gateway knows */
byte leaving[2];                /* mask: tenures whose release has an unknown outcome */

/* What an observer of everything knows. */
byte began = 0;                 /* mask: sessions */
byte acquired = 0;              /* mask: IDs whose lock has landed */
byte overtaken = 0;             /* mask: IDs with another lock of an engine since theirs */
byte ever_overtaken = 0;
bit  lock_copy = 0;             /* the lock is a late copy: there has been one of this ID before */
byte inside = 0;                /* mask: engines between lock and unlock */
byte landed = 0;                /* updates that ever reached the state */
byte ended = 0;
byte uplosses = UPLOSS;
byte crashes = CRASH;
byte target[CLIENTS];           /* the ID that a person has typed */
byte i, n;                      /* scratch, 0 between steps */

/*
 * Properties
 *   P_ME        two engines are never inside at once
 *   P_LOST      no lost update: the state has every update that ever landed
 *   P_ZOMBIE    no update lands of a tenure after which another engine has acquired the lock
 *   P_LATE      the same, also when a late copy of its lock request has brought the tenure back
 *   P_CONFLICT  the engine whose lock is in place is never refused its write
 *   P_OWN       no engine is refused its own lock
 *   P_TRUTH     what was answered 200 is in the state; a lock is gone when its engine, or a person, is told so
 *   P_MEANT     a lock is forced away only if a person has typed its ID
 *   P_GONE      when all have ended and nothing is under way, there is no lock
 */

/* A request that no gateway waits for and whose condition can hold no more is forgotten: it has no effect. */
#if defined(NO_NONCE) || defined(NO_TOUCH_NONCE) || defined(NO_IF_MATCH) || defined(NO_DELETE_IF)
#define STALE(s) false
#else
#define STALE(s) (j[s].gone && (j[s].lock && j[s].lock != lock_etag || j[s].state && j[s].state != state_etag))
#endif
inline forget() {
  n = 0;
  do
  :: n < SLOTS ->
     if
     :: STALE(n) && j[n].waited -> j[n].at = Idle; j[n].gone = 0; j[n].lock = 0; j[n].state = 0; j[n].content = 0; j[n].serial = 0
     :: STALE(n) && !j[n].waited -> CLEAR(n)
     :: else
     fi;
     n++
  :: else -> break
  od;
  n = 0
}

/* The gateway waits no more for what it has sent: what it meant to do then does not matter. */
inline abandon(s, why) {
  j[s].gone = why; j[s].judged = 0;
  j[s].lock = (j[s].at == TouchPut -> 0 : j[s].lock);
  j[s].state = (j[s].at == WriteMark -> 0 : j[s].state);
  j[s].content = (j[s].at == WriteMark -> 0 : j[s].content);
  j[s].serial = (j[s].at == WriteMark -> 0 : j[s].serial);
  j[s].answer = (j[s].waited -> (j[s].answer -> j[s].answer : Error) : 0)
}

inline fresh_lock_etag() {
  lock_etag = 1;
  n = 0;
  do
  :: n < SLOTS && j[n].lock == lock_etag -> lock_etag++; n = 0
  :: n < SLOTS && j[n].lock != lock_etag -> n++
  :: else -> break
  od;
#ifdef NO_NONCE                 /* the ID and the gateway make the body */
  lock_etag = lock_id * 8 + lock_gw * 2 + lock_over;
#endif
  forget()
}

inline fresh_state_etag() {
  state_etag = 1;
  n = 0;
  do
  :: n < SLOTS && j[n].state == state_etag -> state_etag++; n = 0
  :: n < SLOTS && j[n].state != state_etag -> n++
  :: else -> break
  od;
  forget()
}

inline acquire(who, gateway) {
  lock_copy = IN(acquired, who); lock_id = who; lock_gw = gateway; lock_over = 0; lock_younger = began;
  fresh_lock_etag();
  overtaken = (overtaken | acquired) & ~BIT(who);
#ifdef P_LATE
  ever_overtaken = ever_overtaken | (acquired & ~BIT(who));
#endif
  acquired = acquired | BIT(who)
}

inline lock_goes() { lock_id = 0; lock_etag = 0; lock_gw = 0; lock_over = 0; lock_copy = 0; lock_younger = 0; forget() }

/* The bits of an ID's updates. */
#define UPDATE(id, k)     (1 << (((id) - 1) * WRITES + (k)))
#define UPDATES(id, text) ((text) & (((1 << WRITES) - 1) << (((id) - 1) * WRITES)))
inline update_lands(who, text, number) {
  fresh_state_etag();
  state = text; serial = number;
#ifdef P_ZOMBIE
  assert(!IN(overtaken, who));
#endif
#ifdef P_LATE
  assert(!IN(ever_overtaken, who));
#endif
  landed = landed | UPDATES(who, text);
#ifdef P_LOST
  assert((landed & state) == landed);
#endif
  skip
}

/* A job ends with an answer. */
inline finish(s, what) {
  j[s].at = Idle; j[s].lock = 0; j[s].state = 0; j[s].judged = 0; j[s].content = 0; j[s].serial = 0;
  if
  :: busy[LINE(s)] == s + 1 -> busy[LINE(s)] = 0
  :: else
  fi;
  if
  :: j[s].waited -> j[s].answer = (j[s].answer -> j[s].answer : what); j[s].gone = 0
  :: else -> CLEAR(s)
  fi
}

/* The next step of a job, or its end, if nobody waits for the store's answer any more. */
inline go_on(s, next) {
  if
  :: j[s].gone -> finish(s, Error)
  :: else -> j[s].at = next
  fi
}

#define NAME(s) (j[s].gone == Dead -> Nobody : j[s].g)

#ifdef NO_SIGNED
#define OF_THIS_TENURE(s) true
#else
#define OF_THIS_TENURE(s) (lock_id <= j[s].id || SESSION(lock_id) != (s) / PER)
#endif
#ifdef NO_LOCK_CHECK
#define MAY_WRITE(s) true
#else
#define MAY_WRITE(s) (lock_id && SAME_SESSION(lock_id, (s) / PER) && OF_THIS_TENURE(s) && !lock_over)
#endif
#ifdef NO_SAME
#define SAME_WRITE(s) false
#else
#define SAME_WRITE(s) (serial == j[s].serial && state == j[s].content)
#endif
#ifdef NO_SERIAL
#define NEWER(s) true
#else
#define NEWER(s) (j[s].serial > serial)
#endif
#ifdef NO_IF_MATCH
#define MATCHES(s) true
#else
#define MATCHES(s) (state_etag == j[s].state)
#endif
#ifdef NO_LINE
#define FREE_LINE(s) true
#else
#define FREE_LINE(s) (!busy[LINE(s)])
#endif
#if defined(NO_NAME) || defined(NO_MARK)
#define NAMES_US(s) true
#else
#ifdef NO_LEAVING
#define NAMES_US(s) (lock_gw == j[s].g)
#else
#define NAMES_US(s) (lock_gw == j[s].g && !IN(leaving[j[s].g], j[s].id))
#endif
#endif
#ifdef NO_NAME
#define NAMES_OTHER(s) false
#else
#define NAMES_OTHER(s) (lock_gw != j[s].g)
#endif
#ifdef NO_UNKNOWN
#define MAY_COME(s) false
#else
#define MAY_COME(s) IN(unsure[j[s].g], lock_id)
#endif
#ifdef NO_OVER
#define OVER false
#else
#define OVER lock_over
#endif

#ifdef NO_LEAVING
#define STEADY(s) (lock_gw == j[s].g)
#else
#define STEADY(s) (lock_gw == j[s].g && !IN(leaving[j[s].g], j[s].id))
#endif

inline read_state(s, next) {
  j[s].state = state_etag;
  j[s].judged = (SAME_WRITE(s) -> Same : (NEWER(s) -> Newer : Refused));
  j[s].at = next
}

inline refuse_write(s) {
#ifdef P_CONFLICT
  assert(!(j[s].waited && !j[s].answer && lock_id == j[s].id && !lock_over && !lock_copy));
#endif
  finish(s, No)
}

/* What follows when both are known: what is stored, and that the lock is this session's. */
inline judge_write(s) {
  if
  :: j[s].judged == Same -> finish(s, Yes)
  :: j[s].judged == Refused -> refuse_write(s)
  :: j[s].judged == Newer && NAMES_US(s) -> j[s].at = WritePut; unsure[j[s].g] = unsure[j[s].g] | BIT(j[s].id)
  :: else ->
     j[s].lock = lock_etag; j[s].at = WriteMark
#ifndef NO_MARK_UNKNOWN
     ; unsure[j[s].g] = unsure[j[s].g] | BIT(j[s].id)
#endif
  fi
}

inline look_to_write(s) {
  if
  :: !MAY_WRITE(s) -> refuse_write(s)
#ifdef LOCK_FIRST
  :: else -> j[s].lock = lock_etag; j[s].at = WriteLook
#else
  :: else -> judge_write(s)
#endif
  fi
}

inline look_to_release(s) {
  if
  :: !lock_id -> finish(s, Yes)
  :: lock_id && SAME_SESSION(lock_id, s / PER) && !OF_THIS_TENURE(s) -> finish(s, Yes)
  :: lock_id && SAME_SESSION(lock_id, s / PER) && OF_THIS_TENURE(s) ->
     j[s].lock = lock_etag;
     if
#ifdef NO_MARK_TO_RELEASE
     :: NAMES_OTHER(s) || MAY_COME(s) || OVER -> j[s].at = TouchRead
#else
     :: NAMES_OTHER(s) -> j[s].at = OpenMark; unsure[j[s].g] = unsure[j[s].g] | BIT(lock_id)
     :: !NAMES_OTHER(s) && (MAY_COME(s) || OVER) -> j[s].at = TouchRead
#endif
     :: else -> j[s].at = OpenDelete
     fi
  :: else ->                    /* somebody else's lock: a late or repeated request of whoever released before, or force? */
     if
#ifdef NO_REPLAY
     :: false
#else
#ifdef NO_AGE
     :: j[s].again -> finish(s, Yes)
#else
     :: IN(lock_younger, s / PER) -> finish(s, (j[s].again -> Yes : No))
#endif
#endif
     :: else -> j[s].lock = lock_etag;
#ifdef NO_TAKEOVER
        j[s].at = TouchRead
#else
        j[s].at = OpenTake
#endif
     fi
  fi
}

#ifdef NO_TOUCH
#define TOUCH_STEP OpenDelete
#else
#define TOUCH_STEP TouchRead
#endif

inline say(s, what, done) {
  printf("    store  %e  %e for client %d by gateway %d (%e): lock ID %d etag %d names %d, state %d serial %d etag %d\n",
    (done -> executes : refuses), what, s / PER, j[s].g, (j[s].gone -> late : in_time),
    lock_id, lock_etag, lock_gw, state, serial, state_etag)
}

/* One job. */
proctype Link(byte s) {
end:
  do
  :: d_step { j[s].at == LockStart && FREE_LINE(s) -> busy[LINE(s)] = s + 1; j[s].at = CreateSent }
  :: d_step { j[s].at == CreateSent ->
       if
       :: !lock_id -> acquire(j[s].id, NAME(s)); say(s, Create, 1);
          if
          :: !j[s].gone && !j[s].waited -> j[s].lock = lock_etag; j[s].at = LockDrop
          :: else -> finish(s, Yes)
          fi
       :: else -> say(s, Create, 0); go_on(s, LockLook)
       fi
     }
  :: d_step { j[s].at == LockLook ->
       if
       :: !lock_id -> j[s].at = CreateSent
#ifndef NO_OWN
#ifdef NO_OWN_MARK
       :: lock_id == j[s].id && !lock_over -> finish(s, Yes)
#else
       :: lock_id == j[s].id && !lock_over && STEADY(s) ->
#ifdef DROP_ANY
          if
          :: !j[s].waited -> j[s].lock = lock_etag; j[s].at = LockDrop
          :: else -> finish(s, Yes)
          fi
#else
          finish(s, Yes)
#endif
       :: lock_id == j[s].id && !lock_over && !STEADY(s) ->
          j[s].lock = lock_etag; unsure[j[s].g] = unsure[j[s].g] | BIT(j[s].id); j[s].at = LockMark
#endif
#endif
       :: else ->
#ifdef P_OWN
          assert(!(j[s].waited && lock_id == j[s].id && !lock_over));
#endif
          finish(s, No)
       fi
     }
  :: d_step { j[s].at == LockMark ->
       if
       :: lock_id && lock_etag == j[s].lock -> lock_gw = NAME(s); j[s].lock = 0; fresh_lock_etag(); say(s, Mark, 1);
          leaving[j[s].g] = (j[s].gone -> leaving[j[s].g] : leaving[j[s].g] & ~BIT(j[s].id)); finish(s, Yes)
       :: else -> say(s, Mark, 0); j[s].lock = 0; go_on(s, LockLook)
       fi
     }
  :: d_step { j[s].at == LockDrop ->
       if
       :: lock_id && lock_etag == j[s].lock -> j[s].lock = 0; lock_goes(); say(s, Delete, 1)
       :: else -> say(s, Delete, 0)
       fi;
       finish(s, Error)
     }
  :: d_step { j[s].at == LockDrop && !j[s].gone -> finish(s, Error) }   /* it does not notice that its client has gone */

#ifdef LOCK_FIRST
  :: d_step { j[s].at == WriteStart && FREE_LINE(s) -> busy[LINE(s)] = s + 1; look_to_write(s) }
  :: d_step { j[s].at == WriteAgain -> look_to_write(s) }
  :: d_step { j[s].at == WriteLook -> read_state(s, WriteLook); judge_write(s) }
#else
  :: d_step { j[s].at == WriteStart && FREE_LINE(s) -> busy[LINE(s)] = s + 1; read_state(s, WriteLook) }
  :: d_step { j[s].at == WriteAgain -> read_state(s, WriteLook) }
  :: d_step { j[s].at == WriteLook -> look_to_write(s) }
#endif
  :: d_step { j[s].at == WriteMark ->
       if
       :: lock_id && lock_etag == j[s].lock ->
          lock_gw = NAME(s); j[s].lock = 0; fresh_lock_etag(); say(s, Mark, 1);
          if
          :: !j[s].gone ->
             unsure[j[s].g] = unsure[j[s].g] | BIT(j[s].id); leaving[j[s].g] = leaving[j[s].g] & ~BIT(j[s].id)
          :: else
          fi;
          go_on(s, WritePut)
       :: else -> say(s, Mark, 0); j[s].lock = 0; go_on(s, WriteAgain)
       fi
     }
  :: d_step { j[s].at == WritePut ->
       if
       :: MATCHES(s) ->
          j[s].state = 0; update_lands(j[s].id, j[s].content, j[s].serial); say(s, Put, 1);
          if
          :: !j[s].gone -> unsure[j[s].g] = unsure[j[s].g] & ~BIT(j[s].id)
          :: else
          fi;
          finish(s, Yes)
       :: else -> say(s, Put, 0); j[s].state = 0; go_on(s, WriteAgain)
       fi
     }

  :: d_step { j[s].at == OpenStart && FREE_LINE(s) -> busy[LINE(s)] = s + 1; look_to_release(s) }
  :: d_step { j[s].at == OpenAgain -> look_to_release(s) }
  :: d_step { j[s].at == OpenMark ->
       if
       :: lock_id && lock_etag == j[s].lock ->
          lock_gw = NAME(s); j[s].lock = 0; fresh_lock_etag(); j[s].lock = lock_etag; say(s, Mark, 1); go_on(s, TOUCH_STEP)
       :: else -> say(s, Mark, 0); j[s].lock = 0; go_on(s, OpenAgain)
       fi
     }
  :: d_step { j[s].at == OpenTake ->
       if
       :: lock_id && lock_etag == j[s].lock ->
#ifdef P_MEANT
          assert(target[s / PER] == lock_id);
#endif
          lock_id = j[s].id; lock_gw = NAME(s); lock_over = 1; lock_copy = 0; lock_younger = began;
          j[s].lock = 0; fresh_lock_etag(); j[s].lock = lock_etag; say(s, TakeOver, 1); go_on(s, TOUCH_STEP)
       :: else -> say(s, TakeOver, 0); j[s].lock = 0; go_on(s, OpenAgain)
       fi
     }
  :: d_step { j[s].at == TouchRead -> j[s].state = state_etag; j[s].at = TouchPut }
  :: d_step { j[s].at == TouchPut ->
       if
       :: state_etag == j[s].state ->
          j[s].state = 0;
#ifndef NO_TOUCH_NONCE
          fresh_state_etag();
#endif
          say(s, Touch, 1);
          if
          :: !j[s].gone -> unsure[j[s].g] = unsure[j[s].g] & ~BIT(lock_id)
          :: else
          fi;
          go_on(s, OpenDelete)
       :: else -> say(s, Touch, 0); j[s].state = 0; go_on(s, TouchRead)
       fi
     }
  :: d_step { j[s].at == OpenDelete ->
       if
#ifdef NO_DELETE_IF
       :: true ->
#ifdef P_MEANT
          assert(!lock_id || SESSION(lock_id) == s / PER);
#endif
          j[s].lock = 0; lock_goes(); say(s, Delete, 1); finish(s, Yes)
#else
       :: lock_id && lock_etag == j[s].lock -> j[s].lock = 0; lock_goes(); say(s, Delete, 1); finish(s, Yes)
       :: else -> say(s, Delete, 0); j[s].lock = 0; go_on(s, OpenAgain)
#endif
       fi
     }

  /* The gateway stops waiting for the store. */
#if UPLOSS
  :: d_step { SENT(j[s].at) && !j[s].gone && uplosses ->
       uplosses--;
       printf("gateway %d  stops waiting for the store (for client %d)\n", j[s].g, s / PER);
       if
       :: busy[LINE(s)] == s + 1 -> busy[LINE(s)] = 0
       :: else
       fi;
       leaving[j[s].g] = ((j[s].at == OpenDelete || j[s].at == LockDrop) -> leaving[j[s].g] | BIT(j[s].id) : leaving[j[s].g]);
       abandon(s, Unknown); forget()
     }
#endif
  od
}

/* A gateway dies and is started again. */
#if CRASH
proctype Reaper() {
  bit g;
end:
  do
  :: atomic {
       crashes ->
       if
       :: g = 0
       :: g = 1
       fi;
       d_step {
         crashes--;
         printf("gateway %d  DIES and is started again\n", g);
         i = 0;
         do
         :: i < SLOTS ->
            if
            :: j[i].at && j[i].g == g && SENT(j[i].at) ->
               abandon(i, Dead)
            :: j[i].at && j[i].g == g && !SENT(j[i].at) -> finish(i, Error)
            :: else
            fi;
            i++
         :: else -> break
         od;
         lock_gw = (lock_id && lock_gw == g -> Nobody : lock_gw);
         FREE_LINES unsure[g] = 0; leaving[g] = 0; forget(); i = 0; g = 0
       }
     }
  od
}
#endif

/* The SDK of a client: asks a gateway, any, until there is an answer, or it has had enough. */
#define KIND(what) ((what) == LockStart -> 1 : ((what) == WriteStart -> 2 : 4))
inline ask(what, text, number) {
  again = 0;
  do
  :: atomic {
       if
       :: g = 0
       :: !IN(ROUTED, c) && (ROUTED || c || what != LockStart || again) -> g = 1      /* gateways are alike: engine 0 begins with the first */
       fi;
       d_step {
         slot = c * PER;
         do
         :: j[slot].at || j[slot].waited -> slot++
         :: else -> break
         od;
         assert(slot < (c + 1) * PER);
         j[slot].at = what; j[slot].id = id; j[slot].g = g; j[slot].again = (what == OpenStart && again); j[slot].content = text; j[slot].serial = number;
         j[slot].waited = 1; g = 0;
         printf("client %d  asks gateway %d for %d (ID %d)\n", c, j[slot].g, what, id)
       }
     };
     if
     :: d_step { j[slot].answer -> out = j[slot].answer; j[slot].answer = 0; j[slot].waited = 0 }
     :: d_step { losses && (LOST_KINDS & KIND(what)) ->
          losses--; out = Error; j[slot].answer = 0; j[slot].waited = 0;
          printf("client %d  stops waiting\n", c)
        }
     fi;
     d_step {
       if
       :: !j[slot].at -> CLEAR(slot)
       :: else
       fi;
       slot = 0
     };
     if
     :: out != Error -> break
     :: d_step { out == Error -> again = 1; out = 0 }
#ifndef P_GONE
     :: out == Error -> break
#endif
     fi
  od;
  again = 0
}

proctype Engine(byte c) {
  byte id, slot, out, losses, base, from, k;
  bit g, again;
  d_step { id = FIRST_ID(c); losses = (IN(LOSSY, c) -> LOSS : 0); began = began | BIT(c) };
lock:
  ask(LockStart, 0, 0);
  if
  :: out == No && lock_id == 0 -> out = 0; goto lock            /* waits for its turn */
  :: out == No -> goto stop
  :: out == Error -> goto stop
  :: out == Yes
  fi;
  d_step {
    out = 0; base = state; from = serial; k = 0;
    inside = inside | BIT(c); printf("client %d  ENTERS\n", c);
#ifdef P_ME
    assert((inside & (inside - 1)) == 0);
#endif
  };
  do
  :: k < WRITES ->
     base = base | UPDATE(id, k); k++;
     ask(WriteStart, base, from + k);
#ifdef P_TRUTH
     d_step {
       if
       :: out == Yes -> assert(landed & UPDATE(id, k - 1)); assert(!(base & ~landed) || k > 1)
       :: else
       fi
     };
#endif
     if
     :: out == No -> break
     :: out != No
     fi
  :: k == WRITES || IN(PLANS, c) -> break
  od;
  atomic { base = 0; from = 0; k = 0; out = 0; inside = inside & ~BIT(c); printf("client %d  LEAVES\n", c) };
  ask(OpenStart, 0, 0);
#if TENURES > 1
  if
  :: d_step { out == Yes && id < FIRST_ID(c) + TENURES - 1 -> id++; out = 0 }; goto lock
  :: else
  fi;
#endif
stop:
  skip;
  d_step { id = 0; slot = 0; out = 0; losses = 0; ended++ }
}

/* `terraform force-unlock ID`: looks whether the ID is the lock's, then deletes. */
proctype Person(byte c) {
  byte id, slot, out, losses;
  bit g, again;
end:
  if
  :: d_step { lock_id && SESSION(lock_id) < NC -> id = FIRST_ID(c); losses = (IN(LOSSY, c) -> LOSS : 0);
       began = began | BIT(c); target[c] = lock_id }
  fi;
  if
  :: lock_id == target[c]
  :: lock_id != target[c] -> goto stop
  fi;
  ask(OpenStart, 0, 0);
#ifdef P_TRUTH
  d_step {
    if
    :: out == Yes -> assert((lock_id != target[c] || lock_copy) && lock_id != id)
    :: else
    fi
  };
#endif
stop:
  skip;
  d_step { id = 0; slot = 0; out = 0; losses = 0; ended++ }
}

/* An engine on the bucket itself, which loses nothing. */
#if PLAIN
proctype Plain(byte c) {
  byte id, base, from;
  d_step { id = FIRST_ID(c) };
end:
  atomic { !lock_id -> acquire(id, Direct) };
  d_step {
    base = state; from = serial; inside = inside | BIT(c); printf("client %d  ENTERS\n", c);
#ifdef P_ME
    assert((inside & (inside - 1)) == 0);
#endif
  };
  d_step { update_lands(id, base | UPDATE(id, 0), from + 1) };
  d_step { inside = inside & ~BIT(c) };
  if
  :: lock_id == id -> d_step { true -> lock_goes() }
  :: lock_id != id
  fi;
  d_step { id = 0; base = 0; from = 0; ended++ }
}
#endif

#ifdef P_GONE
proctype Watch() {
end:
  d_step {
    ended == CLIENTS ->
    n = 0;
    do
    :: n < SLOTS && j[n].at == Idle -> n++
    :: else -> break
    od;
    assert(n < SLOTS || !lock_id);
    n = 0
  }
}
#endif

init {
  atomic {
    i = 0;
    do
    :: i < SLOTS -> run Link(i); i++
    :: else -> break
    od;
    i = 0;
    do
    :: i < NC -> run Engine(i); i++
    :: i >= NC && i < NC + PERSONS -> run Person(i); i++
    :: else -> break
    od;
#if PLAIN
    run Plain(NC + PERSONS);
#endif
#if CRASH
    run Reaper();
#endif
#ifdef P_GONE
    run Watch();
#endif
    i = 0
  }
}
