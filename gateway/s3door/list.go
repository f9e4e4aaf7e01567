package s3door

import (
	"context"

	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/s3/s3model"
)

// List implements s3model.Store: what the principal may read.
func (s *Store) List(ctx context.Context, req s3model.ListRequest) (s3model.ListPage, error) {
	c, err := s.enter(ctx, req.Bucket)
	if err != nil {
		return s3model.ListPage{}, err
	}
	opts := bucket.ListOptions{Prefix: req.Prefix, Delimiter: req.Delimiter}
	if req.Delimiter == "" {
		opts.StartAfter = req.After
		opts.PageSize = min(req.Max+1, 1000) // whether more follows is to be known
	}
	var page s3model.ListPage
	for obj, err := range s.Gateway.List(ctx, c, opts) {
		switch {
		case err != nil:
			return s3model.ListPage{}, s.refusal(err)
		case obj.Key <= req.After:
			continue
		case len(page.Objects)+len(page.Prefixes) == req.Max:
			page.Truncated = true
			return page, nil
		case obj.IsPrefix:
			page.Prefixes = append(page.Prefixes, obj.Key)
		default:
			page.Objects = append(page.Objects, object(obj))
		}
		page.NextKey = obj.Key
	}
	return page, nil
}

// ListVersions implements s3model.Store: what the principal may read.
func (s *Store) ListVersions(ctx context.Context, req s3model.ListRequest) (s3model.ListPage, error) {
	c, err := s.enter(ctx, req.Bucket)
	if err != nil {
		return s3model.ListPage{}, err
	}
	if req.Delimiter != "" {
		return s3model.ListPage{}, s3model.ErrNotServed.With("A gateway lists versions without a delimiter.", nil)
	}
	var page s3model.ListPage
	// The port has no marker within the versions of a key: they are passed over.
	passing := req.VersionIDMarker != ""
	for obj, err := range s.Gateway.ListVersions(ctx, c, bucket.ListOptions{Prefix: req.Prefix}) {
		switch {
		case err != nil:
			return s3model.ListPage{}, s.refusal(err)
		case obj.Key < req.KeyMarker, obj.Key == req.KeyMarker && req.VersionIDMarker == "":
			continue
		case obj.Key == req.KeyMarker && passing:
			passing = obj.VersionID != req.VersionIDMarker
			continue
		case len(page.Objects) == req.Max:
			page.Truncated = true
			return page, nil
		}
		page.Objects = append(page.Objects, object(obj))
		page.NextKey, page.NextVersionID = obj.Key, obj.VersionID
	}
	return page, nil
}
