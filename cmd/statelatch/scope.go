package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/site"
)

// place is a bucket, or the part of it below a prefix, and the way to it.
type place struct {
	*site.Site

	scope statelatch.Scope
	again naming // of it in another command
}

// locks is for the locks of the bucket, and of the table where there is one. It proves nothing, and fences nothing.
func (p place) locks() *lock.Manager { return &lock.Manager{Bucket: p.Bucket, Table: p.Manager.Table} }

// openScope finds a bucket and connects to it: the one that o.ref names as s3://BUCKET[/PREFIX], else the whole
// bucket of the working directory's backend. It sends nothing yet.
func (o targetOptions) openScope(ctx context.Context, term terminal) (place, error) {
	scope, backend, err := o.trustedScope(ctx, term)
	if err != nil {
		return place{}, err
	}
	backend.Bucket = scope.Bucket
	s, err := site.Connect(ctx, backend, site.Options{Getenv: term.Getenv, Verdicts: keeper(term)})
	return place{Site: s, scope: scope, again: o.again(term)}, err
}

// openScopes opens several, or the working directory's where none is named.
func (o targetOptions) openScopes(ctx context.Context, term terminal, refs []string) ([]place, error) {
	if len(refs) == 0 {
		refs = []string{""}
	}
	var places []place
	for _, ref := range refs {
		one := o
		one.ref = ref
		p, err := one.openScope(ctx, term)
		if err != nil {
			return nil, err
		}
		for _, other := range places {
			a, b := other.scope.String()+"/", p.scope.String()+"/"
			if strings.HasPrefix(a, b) || strings.HasPrefix(b, a) {
				return nil, usageError{fmt.Errorf("%s and %s: what is in both would count twice", other.scope, p.scope)}
			}
		}
		places = append(places, p)
	}
	return places, nil
}
