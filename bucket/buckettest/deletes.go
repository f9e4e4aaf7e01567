package buckettest

import (
	"context"
	"fmt"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

func deleteChecks() []Check {
	return []Check{
		{Name: "delete/present", Func: deletePresent},
		{Name: "delete/absent", Func: deleteAbsent},
		{Name: "delete/if-match-right", Func: deleteIfMatchRight},
		{Name: "delete/if-match-wrong", Func: deleteIfMatchWrong},
		{Name: "delete/if-match-stale", Func: deleteIfMatchStale},
		{Name: "delete/if-match-absent", Func: deleteIfMatchAbsent},
		{Name: "delete/if-match-after-delete", Func: deleteIfMatchAfterDelete},
		{Name: "delete/if-absent-refused", Func: deleteIfAbsentRefused},
	}
}

func deletePresent(ctx context.Context, p *Probe) error {
	key := p.key("object")
	if err := p.putAll(ctx, key); err != nil {
		return err
	}
	deleted, err := p.remove(ctx, key, "")
	if err != nil {
		return err
	}
	if deleted.DeleteMarker != p.Versioned || (deleted.VersionID != "") != p.Versioned {
		return fmt.Errorf("delete on a bucket with versioning %t: got marker %t with version %q, want a marker exactly "+
			"where there are versions",
			p.Versioned, deleted.DeleteMarker, deleted.VersionID)
	}
	return p.absent(ctx, key, "")
}

func deleteAbsent(ctx context.Context, p *Probe) error {
	if _, err := p.remove(ctx, p.key("absent"), ""); err != nil {
		return err
	}
	return p.absent(ctx, p.key("absent"), "")
}

func deleteIfMatchRight(ctx context.Context, p *Probe) error {
	key := p.key("object")
	obj, err := p.put(ctx, key, "object", bucket.Condition{})
	if err != nil {
		return err
	}
	if _, err := p.Bucket.Delete(ctx, key, bucket.DeleteOptions{If: bucket.IfMatch(obj.ETag)}); err != nil {
		return fmt.Errorf("delete %q with its own ETag: got %w, want success", key, err)
	}
	return p.absent(ctx, key, "")
}

// deleteIfMatchWrong: the condition is honoured, not only accepted (Q5).
func deleteIfMatchWrong(ctx context.Context, p *Probe) error {
	key := p.key("object")
	obj, err := p.put(ctx, key, "object", bucket.Condition{})
	if err != nil {
		return err
	}
	if err := p.deleteRefused(ctx, key, bucket.DeleteOptions{If: bucket.IfMatch(otherETag)},
		statelatch.ErrPreconditionFailed); err != nil {
		return err
	}
	return p.holds(ctx, key, "", "object", obj.ETag)
}

func deleteIfMatchStale(ctx context.Context, p *Probe) error {
	key := p.key("object")
	stale, err := p.put(ctx, key, "stale", bucket.Condition{})
	if err != nil {
		return err
	}
	current, err := p.put(ctx, key, "current", bucket.Condition{})
	if err != nil {
		return err
	}
	if err := p.deleteRefused(ctx, key, bucket.DeleteOptions{If: bucket.IfMatch(stale.ETag)},
		statelatch.ErrPreconditionFailed); err != nil {
		return err
	}
	return p.holds(ctx, key, "", "current", current.ETag)
}

func deleteIfMatchAbsent(ctx context.Context, p *Probe) error {
	return p.deleteRefused(ctx, p.key("absent"), bucket.DeleteOptions{If: bucket.IfMatch(otherETag)},
		statelatch.ErrNotFound)
}

func deleteIfMatchAfterDelete(ctx context.Context, p *Probe) error {
	key := p.key("object")
	obj, err := p.put(ctx, key, "object", bucket.Condition{})
	if err != nil {
		return err
	}
	if _, err := p.remove(ctx, key, ""); err != nil {
		return err
	}
	return p.deleteRefused(ctx, key, bucket.DeleteOptions{If: bucket.IfMatch(obj.ETag)}, statelatch.ErrNotFound)
}

func deleteIfAbsentRefused(ctx context.Context, p *Probe) error {
	key := p.key("object")
	obj, err := p.put(ctx, key, "object", bucket.Condition{})
	if err != nil {
		return err
	}
	if err := p.deleteRefused(ctx, key, bucket.DeleteOptions{If: bucket.IfAbsent}, statelatch.ErrUnsupported); err != nil {
		return err
	}
	return p.holds(ctx, key, "", "object", obj.ETag)
}
