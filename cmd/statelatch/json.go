package main

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/policy"
	"github.com/statelatch/statelatch/state"
)

// The JSON results. docs/JSON.md documents them; fields are only ever added.

// failureJSON is what every command prints with -json when it fails.
type failureJSON struct {
	Error    string          `json:"error"`
	Kind     string          `json:"kind"`
	ExitCode int             `json:"exit_code"`
	Lock     json.RawMessage `json:"lock,omitempty"`
	// Denied is what was denied, and why.
	Denied []policy.Reason `json:"denied,omitempty"`
	// Grant is the IAM policy that allows what was denied, where one can.
	Grant *policy.Document `json:"grant,omitempty"`
}

// failureOf is err for those who asked for JSON.
func failureOf(ctx context.Context, err error) failureJSON {
	out := failureJSON{Error: err.Error(), Kind: kindOf(ctx, err), ExitCode: exitCode(ctx, err)}
	if locked, ok := errors.AsType[*statelatch.LockedError](err); ok && locked.Err == nil {
		out.Lock = locked.Holder.Marshal()
	}
	return out
}

// versionJSON describes a state as it was written.
type versionJSON struct {
	Ref       string `json:"ref"`
	Serial    uint64 `json:"serial"`
	Lineage   string `json:"lineage,omitempty"`
	ETag      string `json:"etag,omitempty"`
	VersionID string `json:"version_id,omitempty"`
	Size      int64  `json:"size"`
}

func versionOf(v state.Version) versionJSON {
	return versionJSON{
		Ref: v.Ref.String(), Serial: v.Header.Serial, Lineage: v.Header.Lineage,
		ETag: v.ETag, VersionID: v.VersionID, Size: v.Size,
	}
}

// serialCell is the serial of a version in a table; nil: it is no state.
func serialCell(serial *uint64) string {
	if serial == nil {
		return "-"
	}
	return strconv.FormatUint(*serial, 10)
}
