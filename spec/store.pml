/*
 * The store: three registers. A request is a message that the store executes at one moment after it was sent,
 * however late; the client may have given up by then, and may have sent it again. A read happens at one moment and
 * has no effect, so a lost read is no event.
 *
 * An ETag stands for a body: the same body sent again has the same ETag, two writes never share one, because each
 * carries a nonce (R1). ETAG(c, n) is the n-th body of client c.
 *
 * An ID belongs to one acquisition: client c has FIRST_ID(c) and up. 0 is nobody. The content of the
 * state is the set of the updates in it, one bit for the acquisition that made each.
 */
mtype = { Create, Swap, Delete, DeleteIf,               /* the lock: if absent, if ETag, always, if ETag */
          Put, PutIf,                                   /* the state: always, if ETag */
          ItemPut, ItemSwap, ItemDelete, ItemDeleteIf,  /* the table: if absent, if Info, always, if Info */
          executes, refuses, late, answer_lost, still_under_way, in_time }      /* words of the trace */

#define ETAG(c, n) (((c) << 5) | (n))
#define PER_CLIENT  (TENURES + RESTART)          /* IDs: one more for a process that is started again */
#define FIRST_ID(c) ((c) * PER_CLIENT + 1)
#define CLIENT(id)  (((id) - 1) / PER_CLIENT)
#define BIT(id)     (1 << ((id) - 1))

byte lock_id = 0, lock_etag = 0;        /* lock_id 0: no lock object */
byte lock_prev = 0;                     /* in a lock that was taken over: the ID of whom (PrevID) */
byte state_etag = 0, state = 0;
byte item = 0;                          /* in the table: an ID, 0: no item */

/* Messages: each client has a few slots, one more than it may lose track of. */
#define Free    0
#define Sent    1
#define Orphan  2               /* sent, but nobody waits for the answer any more */
#define Yes     3               /* executed */
#define No      4               /* refused: the condition did not hold */
#define Unknown 5               /* what a client has that stopped waiting */

#define DATA     0              /* what a state write is: an update, */
#define FENCE    1              /* the same content with a new ETag, */
#define ROLLBACK 2              /* the first state's content */

/* id: of whose acquisition; match: the ETag, or for the table the ID, that must be there; etag: of the body;
 * aux: of a lock, PrevID; of a state, what the write is; content: of the state. */
typedef Message { byte st; mtype op; byte id; byte match; byte etag; byte aux; byte content; byte tenure }

#if CRASH
#define PER (LOSS + 2)
#else
#define PER (LOSS + 1)
#endif
#if RECOVER
#define SLOTS ((NC + 1) * PER)
#define IDS   (NC * PER_CLIENT + 1)
#else
#define SLOTS (NC * PER)
#define IDS   (NC * PER_CLIENT)
#endif
Message r[SLOTS];

#define CLEAR(s) r[s].st = Free; r[s].op = 0; r[s].id = 0; r[s].match = 0; r[s].etag = 0; r[s].aux = 0; \
                 r[s].content = 0; r[s].tenure = 0

/* What an observer of everything knows; no client reads any of it. */
byte tenures = 0;               /* locks that landed so far */
byte tenure_of[IDS + 1];        /* number of the tenure of an ID */
byte newest = 0;                /* highest tenure that has entered the critical section */
byte inside = 0;                /* mask: clients in the critical section */
byte landed = 0;                /* updates that ever reached the state */
byte refused = 0;               /* updates reported as not saved */
byte gone = 0;                  /* IDs of which it was reported that nothing is left */
byte stopped = 0;               /* clients that will do nothing more */
byte takeovers = TAKEOVERS;
byte crashes = CRASH;
bool dead[NC + 1];
byte i, yes;                    /* scratch, 0 between steps */

/*
 * Properties
 *   P_ME         two clients are never in the critical section at once
 *   P_LOST       no lost update: the state has every update that ever landed
 *   P_ZOMBIE     no update of an older tenure lands after a newer one has entered
 *   P_OVERTAKEN  the same from the moment the newer lock landed (reachable: only the fence ends it)
 *   P_CONFLICT   the holder of the newest tenure, its lock in place, is never refused its write
 *   P_TRUTH      what was reported as saved is, what was reported as not saved is not and never will be
 *   P_CLEAN      an acquisition that was given up and says that nothing is left is right
 *   P_ALONE      no fence lands while somebody is in the critical section
 *   P_GHOST      when all have stopped and nothing is under way, there is no lock
 */
#ifdef P_ME
#define CHECK_ME assert((inside & (inside - 1)) == 0)
#else
#define CHECK_ME skip
#endif
#ifdef P_CONFLICT
#define CHECK_CONFLICT(own) assert(!(own))
#else
#define CHECK_CONFLICT(own) skip
#endif
#ifdef P_TRUTH
#define CHECK_SAVED(id)   assert(landed & BIT(id))
#define CHECK_REFUSED(id) assert(!(landed & BIT(id)))
#else
#define CHECK_SAVED(id)   skip
#define CHECK_REFUSED(id) skip
#endif

inline new_tenure(who) { tenures++; tenure_of[who] = tenures }

inline lock_lands(s) {
#ifdef P_CLEAN
  assert(!(gone & BIT(r[s].id)));
#endif
  if
  :: lock_id != r[s].id -> new_tenure(r[s].id)        /* else a renewal */
  :: else
  fi;
  lock_id = r[s].id; lock_etag = r[s].etag; lock_prev = r[s].aux
}

inline lock_goes() { lock_id = 0; lock_etag = 0; lock_prev = 0 }

inline item_lands(s) {
#ifdef P_CLEAN
  assert(!(gone & BIT(r[s].id)));
#endif
  item = r[s].id;
  if
  :: IN(NOFILE, CLIENT(item)) -> new_tenure(item)       /* it is all the lock that this client has */
  :: else
  fi
}

inline state_lands(s) {
  state_etag = r[s].etag; state = r[s].content;
  if
  :: r[s].aux == FENCE ->
#ifdef P_ALONE
     assert(!inside);
#endif
     skip
  :: r[s].aux != FENCE ->
#ifdef P_ZOMBIE
     assert(r[s].tenure >= newest);
#endif
#ifdef P_OVERTAKEN
     assert(r[s].tenure >= tenures);
#endif
     landed = (r[s].aux == DATA -> landed | BIT(r[s].id) : 0)
  fi;
#ifdef P_TRUTH
  assert(!(landed & refused));
#endif
#ifdef P_LOST
  assert((landed & state) == landed);
#endif
}

inline execute(s) {
  yes = 1;
  if
  :: r[s].op == Create       && !lock_id                                       -> lock_lands(s)
  :: r[s].op == Swap         && lock_id && lock_etag == r[s].match             -> lock_lands(s)
  :: r[s].op == Delete                                                         -> lock_goes()
  :: r[s].op == DeleteIf     && lock_id && lock_etag == r[s].match             -> lock_goes()
  :: r[s].op == Put                                                            -> state_lands(s)
  :: r[s].op == PutIf        && state_etag == r[s].match                       -> state_lands(s)
  :: r[s].op == ItemPut      && !item                                          -> item_lands(s)
  :: r[s].op == ItemSwap     && item && item == r[s].match                     -> item_lands(s)
  :: r[s].op == ItemDelete                                                     -> item = 0
  :: r[s].op == ItemDeleteIf && item && item == r[s].match                     -> item = 0
  :: else -> yes = 0
  fi;
  printf("    store  %e  %e of client %d (%e): lock ID %d etag %d.%d, item %d, state %d etag %d.%d\n",
    (yes -> executes : refuses), r[s].op, s / PER, (r[s].st == Orphan -> late : in_time),
    lock_id, lock_etag >> 5, lock_etag & 31, item, state, state_etag >> 5, state_etag & 31)
}

/* One message on its way. */
proctype Link(byte s) {
end:
  do
  :: d_step {
       r[s].st == Sent || r[s].st == Orphan ->
       execute(s);
       if
       :: r[s].st == Orphan -> CLEAR(s)
       :: else -> r[s].st = (yes -> Yes : No)
       fi;
       yes = 0
     }
  od
}

/* A client sends one request and waits for the answer, or gives up waiting while its budget lasts: the
 * request may then have been executed, or will be, or never is. Uses the client's c, slot, id, tenure, losses, out. */
inline send(request, if_match, body, extra, text) {
  d_step {
    r[slot].op = request; r[slot].id = id; r[slot].match = if_match; r[slot].etag = body; r[slot].aux = extra;
    r[slot].content = text; r[slot].tenure = tenure; r[slot].st = Sent;
    printf("client %d  %e (ID %d, if %d.%d, body %d.%d)\n", c, request, id, if_match >> 5, if_match & 31, body >> 5, body & 31)
  };
  if
  :: d_step { r[slot].st == Yes -> out = Yes; CLEAR(slot) }
  :: d_step { r[slot].st == No -> out = No; CLEAR(slot) }
  :: d_step {
       losses && r[slot].st != Free -> losses--; out = Unknown;
       printf("client %d  stops waiting (%e)\n", c, (r[slot].st == Sent -> still_under_way : answer_lost));
       if
       :: r[slot].st == Sent -> r[slot].st = Orphan; slot++
       :: else -> CLEAR(slot)
       fi
     }
  fi
}

/* The SDK of the engines sends again whatever it got no answer to. */
inline sdk(request, if_match, body, extra, text) {
  send(request, if_match, body, extra, text);
  if
  :: out == Unknown -> send(request, if_match, body, extra, text)
  :: else
  fi
}

inline enter() {
  d_step {
    inside = inside | (1 << c); printf("client %d  ENTERS as tenure %d\n", c, tenure);
    CHECK_ME;
    newest = (tenure > newest -> tenure : newest)
  }
}

inline exit() {
  d_step {
    if
    :: IN(inside, c) -> inside = inside & ~(1 << c); printf("client %d  LEAVES\n", c)
    :: else
    fi
  }
}

/* The process died: what it was in the middle of, and which of its requests are still under way, nobody knows. */
inline forget() {
  i = 0;
  do
  :: i < PER ->
     if
     :: r[c * PER + i].st == Sent -> r[c * PER + i].st = Orphan
     :: r[c * PER + i].st == Yes || r[c * PER + i].st == No -> CLEAR(c * PER + i)
     :: else
     fi;
     i++
  :: else -> break
  od;
  slot = c * PER;
  do
  :: r[slot].st != Free -> slot++
  :: else -> break
  od;
  i = 0
}

#ifdef P_GHOST
proctype Watch() {
  byte n;
end:
  d_step {
    stopped == NC && crashes == CRASH ->
    n = 0;
    do
    :: n < SLOTS && r[n].st == Free -> n++
    :: else -> break
    od;
    assert(n < SLOTS || (lock_id == 0 && item == 0))
  }
}
#endif
