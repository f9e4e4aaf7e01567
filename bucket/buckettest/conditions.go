package buckettest

import (
	"context"
	"fmt"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

// otherETag is the ETag of no object.
const otherETag = `"00000000000000000000000000000000"`

func conditionChecks() []Check {
	return []Check{
		{Name: "put/if-absent-free", Func: putIfAbsentFree},
		{Name: "put/if-absent-taken", Func: putIfAbsentTaken},
		{Name: "put/if-absent-after-delete", Func: putIfAbsentAfterDelete},
		{Name: "put/if-match-right", Func: putIfMatchRight},
		{Name: "put/if-match-wrong", Func: putIfMatchWrong},
		{Name: "put/if-match-stale", Func: putIfMatchStale},
		{Name: "put/if-match-absent", Func: putIfMatchAbsent},
		{Name: "put/if-match-after-delete", Func: putIfMatchAfterDelete},
	}
}

func putIfAbsentFree(ctx context.Context, p *Probe) error {
	obj, err := p.put(ctx, p.key("object"), "created", bucket.IfAbsent)
	if err != nil {
		return err
	}
	return p.holds(ctx, p.key("object"), "", "created", obj.ETag)
}

func putIfAbsentTaken(ctx context.Context, p *Probe) error {
	key := p.key("object")
	old, err := p.put(ctx, key, "old", bucket.Condition{})
	if err != nil {
		return err
	}
	if err := p.putRefused(ctx, key, bucket.IfAbsent, statelatch.ErrPreconditionFailed); err != nil {
		return err
	}
	return p.holds(ctx, key, "", "old", old.ETag)
}

// putIfAbsentAfterDelete: a deleted key is free, whether or not a delete marker is left (Q3).
func putIfAbsentAfterDelete(ctx context.Context, p *Probe) error {
	key := p.key("object")
	for round := range 3 {
		content := fmt.Sprintf("tenure %d", round)
		obj, err := p.put(ctx, key, content, bucket.IfAbsent)
		if err != nil {
			return err
		}
		if err := p.putRefused(ctx, key, bucket.IfAbsent, statelatch.ErrPreconditionFailed); err != nil {
			return err
		}
		if err := p.holds(ctx, key, "", content, obj.ETag); err != nil {
			return err
		}
		if _, err := p.remove(ctx, key, ""); err != nil {
			return err
		}
		if err := p.absent(ctx, key, ""); err != nil {
			return err
		}
	}
	return nil
}

func putIfMatchRight(ctx context.Context, p *Probe) error {
	key := p.key("object")
	old, err := p.put(ctx, key, "old", bucket.Condition{})
	if err != nil {
		return err
	}
	obj, err := p.put(ctx, key, "new", bucket.IfMatch(old.ETag))
	if err != nil {
		return err
	}
	if obj.ETag == old.ETag {
		return fmt.Errorf("put other bytes: got the same ETag %s, want another", obj.ETag)
	}
	return p.holds(ctx, key, "", "new", obj.ETag)
}

func putIfMatchWrong(ctx context.Context, p *Probe) error {
	key := p.key("object")
	old, err := p.put(ctx, key, "old", bucket.Condition{})
	if err != nil {
		return err
	}
	if err := p.putRefused(ctx, key, bucket.IfMatch(otherETag), statelatch.ErrPreconditionFailed); err != nil {
		return err
	}
	return p.holds(ctx, key, "", "old", old.ETag)
}

// putIfMatchStale: only the current version counts, not one that once matched.
func putIfMatchStale(ctx context.Context, p *Probe) error {
	key := p.key("object")
	stale, err := p.put(ctx, key, "stale", bucket.Condition{})
	if err != nil {
		return err
	}
	current, err := p.put(ctx, key, "current", bucket.Condition{})
	if err != nil {
		return err
	}
	if err := p.putRefused(ctx, key, bucket.IfMatch(stale.ETag), statelatch.ErrPreconditionFailed); err != nil {
		return err
	}
	return p.holds(ctx, key, "", "current", current.ETag)
}

func putIfMatchAbsent(ctx context.Context, p *Probe) error {
	key := p.key("absent")
	if err := p.putRefused(ctx, key, bucket.IfMatch(otherETag), statelatch.ErrNotFound); err != nil {
		return err
	}
	return p.absent(ctx, key, "")
}

// putIfMatchAfterDelete: the ETag of a deleted object is not revived from below a delete marker.
func putIfMatchAfterDelete(ctx context.Context, p *Probe) error {
	key := p.key("object")
	old, err := p.put(ctx, key, "old", bucket.Condition{})
	if err != nil {
		return err
	}
	if _, err := p.remove(ctx, key, ""); err != nil {
		return err
	}
	if err := p.putRefused(ctx, key, bucket.IfMatch(old.ETag), statelatch.ErrNotFound); err != nil {
		return err
	}
	return p.absent(ctx, key, "")
}
