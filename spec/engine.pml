/*
 * terraform and tofu with backend "s3", as they are: a lock that is not recognised as one's own, a state written
 * without a condition, a lock deleted without one, and an SDK that sends again whatever it got no answer to (sdk).
 */

/* Unlock: look whether the ID is ours, then delete. */
inline engine_unlock_file() {
  if
  :: lock_id == id -> sdk(Delete, 0, 0, 0, 0)
  :: else
  fi
}
inline engine_unlock_table() {
  if
  :: item == id && IN(TOFU, c)  -> sdk(ItemDeleteIf, id, 0, 0, 0)
  :: item == id && !IN(TOFU, c) -> sdk(ItemDelete, 0, 0, 0, 0)
  :: else
  fi
}

proctype Engine(byte c) {
  byte id, slot, out, tenure, content, losses;
  {
    d_step { id = FIRST_ID(c); slot = c * PER; losses = (IN(LOSSY, c) -> LOSS : 0) };
    if
    :: !IN(NOFILE, c) ->
       sdk(Create, 0, ETAG(c, 1), 0, 0);
       if
       :: out != Yes -> goto stop
       :: else
       fi
    :: else
    fi;
    if
    :: IN(TABLE, c) ->
       sdk(ItemPut, 0, 0, 0, 0);
       if
       :: out != Yes && !IN(NOFILE, c) -> engine_unlock_file(); goto stop
       :: out != Yes && IN(NOFILE, c) -> goto stop
       :: else
       fi
    :: else
    fi;
    d_step { tenure = tenure_of[id]; content = state };
    enter();
    sdk(Put, 0, ETAG(c, 2), DATA, content | BIT(id));
    exit();
    if
    :: !IN(NOFILE, c) -> engine_unlock_file()
    :: else
    fi;
    if
    :: IN(TABLE, c) -> engine_unlock_table()
    :: else
    fi;
stop:
    skip
  } unless { d_step { dead[c] -> forget() } };
  d_step { dead[c] = 1; stopped++; id = 0; slot = 0; out = 0; tenure = 0; content = 0; losses = 0 }
}

/* Somebody types `terraform force-unlock` with the ID of whoever holds the lock: look, then delete. */
#ifdef FORCE_IDLE
#define MAY_FORCE (lock_id && !inside && (landed & BIT(lock_id)))
#else
#define MAY_FORCE lock_id
#endif
#if FORCE
proctype Operator() {
  byte n = FORCE;
  byte seen;
end:
  do
  :: n && MAY_FORCE -> d_step { n--; seen = lock_id };
     d_step { lock_goes(); printf("operator  deletes the lock object\n") };
     d_step { item = (item == seen -> 0 : item); seen = 0 }
  od
}
#endif

/* Processes die at any moment; with DIE_HOLDING only while the lock is theirs and no request of theirs is under way. */
#ifdef DIE_HOLDING
#define MAY_DIE(n) (lock_id && CLIENT(lock_id) == n && r[n * PER].st == Free)
#else
#define MAY_DIE(n) true
#endif
#if CRASH
proctype Reaper() {
  byte n;
end:
  do
  :: atomic {
       crashes ->
       n = 0;
       do
       :: n < NC && IN(MORTAL, n) && !dead[n] && MAY_DIE(n) -> dead[n] = 1; inside = inside & ~(1 << n); crashes--;
          printf("client %d  DIES\n", n); n = 0; break
       :: n < NC - 1 -> n++
       :: else -> n = 0; break
       od
     }
  od
}
#endif
