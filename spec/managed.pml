/*
 * Our client: one process that acquires the lock, changes the state and releases, TENURES times.
 * Each label says which function of the code it stands for. The process may die between any two steps.
 */

#ifdef NO_R1
#define LOCK_BODY ETAG(c, id)                   /* no nonce: the ID alone makes the body */
#else
#define LOCK_BODY ETAG(c, nonce)
#endif
#ifdef NO_R1_TOUCH
#define TOUCH_BODY base                         /* the same bytes again */
#else
#define TOUCH_BODY ETAG(c, nonce)
#endif

#define ABSENT  10              /* what reading the lock tells */
#define OURS    11
#define FOREIGN 12

#define SAVED   20              /* what reading the state back tells about a write: it is in, */
#define PENDING 21              /* it is not in, but may come, */
#define MOVED   22              /* only the ETag has changed, the write can not come any more, */
#define OTHER   23              /* the content is somebody else's; */
#define CLAIMED 24              /* zero bytes have an ETag of our own now */

#ifdef NO_R12
#define STATE_BODY (IN(ROLLBACKS, c) -> 0 : ETAG(c, nonce))     /* the first state's bytes have the first state's ETag */
#else
#define STATE_BODY ETAG(c, nonce)
#endif
#ifdef NO_CLAIM
#define CLAIM false
#else
#define CLAIM (BLANK && !base)
#endif
#define UNFENCED (overtook && !fenced && TOUCH > 0)
#define STATE_TEXT (IN(ROLLBACKS, c) -> 0 : (content | BIT(id)))
#define STATE_KIND (IN(ROLLBACKS, c) -> ROLLBACK : DATA)
#ifdef NO_R4
#define REMOVE Delete
#else
#define REMOVE DeleteIf
#endif

#ifdef NO_R2
#define EXACTLY_OURS (lock_id == id)
#else
#define EXACTLY_OURS (lock_id == id && lock_etag == mine)
#endif
#ifdef NO_R11
#define MAY_TAKE_OVER takeovers
#else
#define MAY_TAKE_OVER (takeovers && !IN(ENGINES, CLIENT(lock_id)))
#endif
/* A lease is believed to be over: at any time; or never before its holder and what runs under it have stopped; or not
 * before their requests have died out as well. */
#if STOPPED == 2
#define HOLDER_STOPPED (dead[CLIENT(lock_id)] && r[CLIENT(lock_id) * PER].st == Free && r[CLIENT(lock_id) * PER + 1].st == Free)
#elif STOPPED == 1
#define HOLDER_STOPPED (dead[CLIENT(lock_id)])
#else
#define HOLDER_STOPPED true
#endif
#ifdef NO_PREV                                  /* Held.owns: an item of the last holder, or of one whose lock it had taken over */
#define ITEM_OF_LAST (item && item == prev)
#else
#define ITEM_OF_LAST (item && (item == prev || item == prev2))
#endif
#if RECOVER == 2
#define PERSON_AGREES last
#else
#define PERSON_AGREES false
#endif

/* attempt.look: GET of the lock. It is ours if its body is one that this acquisition has sent; the ID is fresh and in every
 * body, so that is so if the ID is ours. That we hold it is not said by this: that takes the exact body (R2). */
inline look_at_lock() {
  d_step {
    if
    :: !lock_id -> out = ABSENT
    :: lock_id == id -> out = OURS; open = (open -> open : 1)
    :: else -> out = FOREIGN
    fi;
    seen = lock_etag;
    if
    :: taking && lock_etag != taking ->                 /* our takeover has landed, or can not any more */
       taking = 0;
       if
       :: out != OURS && unsure -> open--
       :: out != OURS && !unsure -> open--; overtook = 0; prev = 0; prev2 = 0
       :: else
       fi
    :: else
    fi;
    unsure = unsure || out == OURS
  }
}

/* state.Store.Touch, the fence: the same content under a new ETag. Every older write that is still under way has an
 * If-Match that has just ceased to exist. Zero bytes stay as they are: what is written over them is claim first. ok: it is done. */
inline touch() {
  again = 3;
  do
  :: BLANK && !state_etag -> ok = 1; break
  :: d_step { !(BLANK && !state_etag) -> nonce++; base = state_etag; content = state; body = TOUCH_BODY };
     send(PutIf, base, body, FENCE, content);
     if
     :: d_step { out == Yes || state_etag == body -> ok = 1 }; break
     :: d_step { out != Yes && state_etag != body && again -> again-- }
     :: d_step { out != Yes && state_etag != body && (out == Unknown || !again) -> ok = 0 }; break
     fi
  od;
  atomic { again = 0; base = 0; content = 0; body = 0; fenced = ok }
}

#define DELETE_ON_ITS_WAY (unsure && slot > c * PER && r[slot - 1].st == Orphan && r[slot - 1].op == Delete)
inline give_up_delete() { CLEAR(slot - 1) }

/* lock.Manager.removeObject: DELETE If-Match, sent again while the outcome is unknown. ok: it was ours and is gone. */
inline remove(etag) {
#ifdef WEAK                                     /* removeWeakly: the store has no conditional delete. Look, then delete; without an answer, again */
  unsure = 0;
  do
  :: if
#ifdef NO_PATIENCE                              /* at once */
     :: true
#else                                           /* when the one before has arrived, or its time to do so is over */
     :: d_step { DELETE_ON_ITS_WAY -> give_up_delete() }
     :: !DELETE_ON_ITS_WAY
#endif
     fi;
     if
     :: lock_etag != etag -> ok = unsure; break
     :: lock_etag == etag ->
        send(Delete, 0, 0, 0, 0);
        if
        :: out == Unknown -> unsure = 1
        :: out != Unknown -> ok = 1; break
        fi
     fi
  od;
  unsure = 0
#else
  unsure = 0;
  do
  :: send(REMOVE, etag, 0, 0, 0);
     if
     :: d_step { out == Unknown -> unsure = 1 }
     :: d_step { out == Yes -> ok = 1 }; break
     :: d_step { out == No && pending && lock_etag == pending -> etag = pending; pending = 0; unsure = 0 }
     :: d_step { out == No && !(pending && lock_etag == pending) -> ok = unsure }; break     /* an earlier one did it */
     fi
  od;
  unsure = 0
#endif
}

/* lock.Manager.removeItem. Safe at any time: an item with another ID stays. */
inline remove_item(owner) {
  do
  :: send(ItemDeleteIf, owner, 0, 0, 0);
     if
     :: out == Unknown
     :: out != Unknown -> break
     fi
  od
}

/* Tenure.renew, or nothing. ok = 0: the lease is lost. */
inline renew() {
  if
  :: d_step { renewals -> renewals--; nonce++; pending = LOCK_BODY };
     do
     :: send(Swap, mine, pending, prev, 0);
        if
        :: d_step { out == Yes -> mine = pending; pending = 0 }; break
        :: out == Unknown                                       /* the same body again, until the deadline ... */
        :: out == Unknown -> ok = 0; break                      /* ... which has come */
#ifdef NO_R2
        :: d_step { out == No && lock_id == id -> mine = lock_etag; pending = 0 }; break
        :: out == No && lock_id != id -> ok = 0; break
#else
        :: d_step { out == No && lock_id == id && lock_etag == pending -> mine = pending; pending = 0 }; break
        :: out == No && !(lock_id == id && lock_etag == pending) -> ok = 0; break
#endif
        fi
     od
  :: true
  fi
}

/* attempt.removeItemTakenOver: while our lock object still tells that its holder is dead. */
inline remove_item_of_last() {
  if
  :: d_step { IN(TABLE, c) && ITEM_OF_LAST -> taking = item };
     remove_item(taking);
     taking = 0
  :: !(IN(TABLE, c) && ITEM_OF_LAST)
  fi
}

/* lock.Manager.ForceRelease of the lock that was just read (seen, prev, prev2): take it over, touch, release. Whoever held it
 * can write no more, alive or dead. It is what `force-unlock` does, and `unlock` with the lock of a process that is gone. */
inline force_release() {
#ifdef NO_FENCE_UNLOCK
  remove(seen);
#else
  do
  :: d_step { nonce++; body = LOCK_BODY };
     send(Swap, seen, body, prev, 0);
     if
     :: d_step { out == Yes -> mine = body }; break
     :: out != Yes && lock_etag == seen                         /* not yet */
     :: d_step { out != Yes && lock_id == id -> seen = lock_etag }      /* it had landed: re-key */
     :: out != Yes && lock_etag != seen && lock_id != id -> break
     fi
  od;
  if
  :: mine ->
     touch();
     if
     :: ok -> remove_item_of_last(); remove(mine)
     :: !ok                                     /* not fenced, so not released */
     fi
  :: !mine
  fi
#endif
}

#define RESET mine = 0; seen = 0; taking = 0; body = 0; pending = 0; prev = 0; prev2 = 0; base = 0; content = 0; \
              tries = TRIES; again = 0; renewals = 0; open = 0; items = 0; overtook = 0; fenced = 0; unsure = 0; ok = 0; \
              out = 0; tenure = 0

proctype Client(byte c; bit last) {
  byte id, slot, out, tenure, losses;           /* see send */
  byte nonce, body, pending;                    /* how many bodies were made; the one being sent; a renewal of unknown outcome */
  byte mine, seen, taking;                      /* ETags: of our lock, of the lock as it was read, of the lock being taken over */
  byte prev, prev2;                             /* IDs: of the lock that we took over, of the one that it had taken over */
  byte base, content;                           /* the state as it was read */
  byte tries, again, renewals;
  byte open, items;                             /* writes of ours that may have landed or may yet: of the lock, of the item */
  bit overtook, fenced;                         /* one of them was a takeover; whoever held that lock writes no more */
  bit unsure, ok;
  {
    d_step { id = FIRST_ID(c); slot = c * PER; losses = (IN(LOSSY, c) -> LOSS : 0); RESET };
    if
    :: last -> atomic { stopped == NC -> losses = 0; tries = 9 }
    :: else
    fi;
    if
    :: IN(UNLOCKERS, c) ->
       if
       :: d_step { lock_id -> seen = lock_etag; prev = lock_id; prev2 = lock_prev }; force_release()
       :: true
       fi;
       goto next
    :: else
    fi;

acquire:                                        /* lock.Manager.Acquire: ends at begin, or without a lock at giveup */
    atomic { renewals = RENEW; ok = 1; nonce++; body = LOCK_BODY };
create:                                         /* a body of unknown outcome must be sent again; one that was refused is nowhere */
    send(Create, 0, body, 0, 0);
    if
    :: d_step { out == Yes -> open++; seen = body; mine = body };
#ifndef NO_R3
       if
       :: unsure -> goto rekey
       :: else
       fi;
#endif
       goto won
    :: d_step { out == Unknown -> open++; unsure = 1 }
    :: out == No
    fi;
look:
    look_at_lock();
    if
    :: out == OURS ->
#ifdef NO_R3
       mine = seen; goto won
#else
       goto rekey
#endif
    :: out == ABSENT && tries -> tries--; goto create
    :: out == ABSENT && !tries -> goto giveup
    :: out == FOREIGN                           /* wait for a change, give up, or take over */
    fi;
    if
    :: tries && lock_etag != seen -> tries--; goto look
    :: !last -> goto giveup
    :: d_step {
         lock_etag == seen && (last || MAY_TAKE_OVER && HOLDER_STOPPED) ->
         takeovers = (last -> takeovers : takeovers - 1);
         prev = lock_id; prev2 = lock_prev; overtook = 1; fenced = 0;
         open = (taking == seen -> open : open + 1); taking = seen; nonce++
       }
    fi;

    send(Swap, seen, LOCK_BODY, prev, 0);       /* attempt.takeOver */
    if
    :: d_step { out == Yes -> taking = 0; seen = LOCK_BODY; mine = seen };
#ifndef NO_R3
       if
       :: unsure -> goto rekey
       :: else
       fi;
#endif
       goto won
    :: d_step { out == Unknown -> unsure = 1 }; goto look
    :: out == No -> goto look
    fi;

rekey:                                          /* R3: a late copy of our create will not be mistaken for our lock */
    nonce++;
    send(Swap, seen, LOCK_BODY, prev, 0);
    if
    :: d_step { out == Yes -> mine = LOCK_BODY }; goto won
    :: out != Yes && tries -> tries--; goto look
    :: out != Yes && !tries -> goto giveup
    fi;

won:
    atomic { tenure = tenure_of[id]; seen = 0 };
    renew();
#if ITEM_FIRST
    if
    :: IN(TABLE, c) -> goto table
    :: else
    fi;
#endif
fence:                                          /* attempt.begin: the last holder writes no more (R6) ... */
    if
    :: overtook && !fenced && TOUCH > 0 || TOUCH == 2 ->
       touch();
       if
       :: !ok && overtook -> goto next            /* the lock stays, and its lease will run out */
       :: !ok && !overtook -> goto undo
       :: ok
       fi;
#ifndef NO_R7_TAKEOVER
       if
       :: EXACTLY_OURS                          /* ... and was it we who did it? (R7) Tenure.Verify */
       :: !EXACTLY_OURS -> goto undo
       fi
#endif
    :: else
    fi;
#if ITEM_FIRST
    goto begin;
#endif
    if
    :: IN(TABLE, c)
    :: else -> goto begin
    fi;

table:                                          /* attempt.lockItem: it must be free, or of the last holder */
    if
    :: item == id -> out = Yes
    :: !item -> send(ItemPut, 0, 0, 0, 0)
    :: d_step { item && item != id && (overtook && ITEM_OF_LAST || PERSON_AGREES) -> seen = item };
       send(ItemSwap, seen, 0, 0, 0)
    :: item && item != id && !(overtook && ITEM_OF_LAST || PERSON_AGREES) -> goto undo
    fi;
    seen = 0;
    if
    :: out == Yes
    :: d_step { out == Unknown -> items++ }; goto table
    :: out == No && tries -> tries--; goto table
    :: out == No && !tries -> goto undo
    fi;
#if ITEM_FIRST
    goto fence;
#endif

begin:
    atomic { prev2 = 0; open = 0; items = 0; tries = 0; unsure = 0; overtook = 0; fenced = 0; body = 0 };
    if
    :: IN(WRAPPERS, c) ->                       /* package runner: the engine reads and writes, as it always does */
       enter();
       d_step { content = state; nonce++ };
       sdk(Put, 0, ETAG(c, nonce), DATA, content | BIT(id));
       goto written
    :: else
    fi;

                                                /* state.Store.Begin */
    d_step { base = state_etag; content = state };      /* GET state ... */
    renew();
    if
    :: !ok -> goto release
    :: ok
    fi;
#ifndef NO_R7
    if
    :: EXACTLY_OURS                             /* ... and GET lock (R7): Tenure.Verify */
    :: !EXACTLY_OURS -> goto release
    fi;
#endif
    enter();
    again = 4;
    renew();
    if
    :: !ok -> goto written
    :: ok
    fi;

write:                                          /* state.Session.Write */
    atomic { nonce++; body = STATE_BODY; unsure = 0 };
resend:                                         /* over zero bytes the first write is one that only gives them an ETag (claim) */
    if
    :: CLAIM -> send(PutIf, base, body, FENCE, content)
    :: !CLAIM -> send(PutIf, base, body, STATE_KIND, STATE_TEXT)
    fi;
    d_step {                                    /* not 200: GET state */
      unsure = unsure || out == Unknown;
      if
      :: (out == Yes || state_etag == body) && CLAIM -> out = CLAIMED
      :: (out == Yes || state_etag == body || state == STATE_TEXT) && !CLAIM -> out = SAVED
      :: else ->
         if
         :: state_etag == base -> out = PENDING
         :: state_etag != base && state == content -> out = MOVED
         :: state_etag != base && state != content -> out = OTHER
         fi
      fi
    };
    if
    :: out == SAVED -> CHECK_SAVED(id); goto written
    :: out == CLAIMED ->                        /* Tenure.Verify, then the write itself */
       base = body;
       if
       :: EXACTLY_OURS -> goto write
       :: !EXACTLY_OURS
       fi
    :: d_step { out == PENDING && again -> again-- }; goto resend
    :: out == PENDING -> goto hold
    :: out == OTHER ->
       CHECK_CONFLICT(lock_id == id && tenure == tenures);
#ifndef NO_R9
       if
       :: unsure -> goto hold                   /* R9: it may have landed before the other */
       :: else
       fi
#endif
#ifdef NO_R8
    :: out == MOVED -> CHECK_CONFLICT(lock_id == id && tenure == tenures)
#else
    :: d_step { out == MOVED -> base = state_etag };    /* R8: is the lock still ours? then again, on the new ETag */
       if
       :: d_step { EXACTLY_OURS && again -> again-- }; goto write
       :: !EXACTLY_OURS
       :: EXACTLY_OURS && !again -> CHECK_CONFLICT(lock_id == id && tenure == tenures)
       fi
#endif
    fi;
    d_step { refused = refused | BIT(id); printf("client %d  reports: not saved\n", c) };
    CHECK_REFUSED(id);

written:
    exit();
    atomic { base = 0; content = 0; body = 0; unsure = 0; again = 0; out = 0 };
    renew();

release:                                        /* Tenure.Release: the item, then the object, whatever became of the first */
#ifdef OBJECT_FIRST
    remove(mine);
#endif
    if
    :: IN(TABLE, c) -> remove_item(id)
    :: else
    fi;
#ifndef OBJECT_FIRST
    remove(mine);
#endif
    goto next;

hold:                                           /* Tenure.Hold (R5): the lock stays until it is taken over and fenced */
    exit();
    printf("client %d  keeps its lock: the outcome of its write is unknown\n", c);
#ifdef NO_R5
    goto release;
#endif
    goto next;

undo:                                           /* attempt.giveUp, after the lock object was won */
#if ITEM_FIRST
    if
    :: UNFENCED -> goto next                    /* not fenced, so not released */
    :: else
    fi;
#endif
    do                                          /* takeBackItem, until it is removed or time is up */
    :: items -> send(ItemDeleteIf, id, 0, 0, 0); items = (out == Yes -> items - 1 : items)
    :: true -> break
    od;
    if
    :: overtook -> remove_item_of_last()
    :: else
    fi;
    remove(mine);
    open = (open -> open - 1 : 0);
    if
    :: tries -> tries--; goto look
    :: true
    fi;

giveup:                                         /* attempt.leave: is there anything to take back? */
    if
    :: open
    :: !open -> goto left
    fi;
takeback:                                       /* remove what landed unseen, until it is done or time is up */
    look_at_lock();
    if
    :: out == OURS ->
#ifndef NO_FENCE_TAKEBACK
       if
       :: UNFENCED -> touch()
       :: else -> ok = 1
       fi;
       if
       :: ok
       :: !ok -> goto next
       fi;
#endif
       if
       :: overtook -> remove_item_of_last()
       :: else
       fi;
       remove(seen);
       if
       :: ok -> open--; goto takeback
       :: !ok && tries -> tries--; goto takeback
       :: !ok && !tries -> goto next
       fi
    :: out != OURS && open -> goto next         /* it may still appear, and the error says so */
    :: out != OURS && !open
    fi;
left:
    if
    :: items -> goto next                       /* likewise the item */
    :: !items
    fi;
    d_step { gone = gone | BIT(id); printf("client %d  gives up, nothing is left\n", c) };

next:
    atomic { RESET };
    if
    :: !last && id < FIRST_ID(c) + TENURES - 1 -> id++; goto acquire
    :: else
    fi
  } unless { d_step { dead[c] -> forget() } };

#if RESTART
  if                                            /* `statelatch unlock` by a new process that knows the ID, no more */
  :: dead[c] ->
     d_step { RESET; losses = 0; printf("client %d  is started again\n", c); prev = id; id = FIRST_ID(c) + TENURES };
     if
     :: d_step { prev && lock_id == prev -> seen = lock_etag; prev2 = lock_prev }; force_release()
     :: prev && !lock_id && IN(TABLE, c) && item == prev -> remove_item(prev)
     :: !prev || (lock_id != prev && !(!lock_id && IN(TABLE, c) && item == prev))
     fi
  :: else
  fi;
#endif
  atomic {
    assert(nonce < 32);                         /* ETAG has no room for more */
    if
    :: last -> assert(landed & BIT(id)); assert(state & BIT(id))
    :: else
    fi;
    RESET; id = 0; slot = 0; losses = 0; nonce = 0; tries = 0; dead[c] = 1; stopped++
  }
}
