package backendconf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/treefile"
)

// cacheVersion is the only format of the backend cache that either engine has used since 2014.
const cacheVersion = 3

// readCache reads the backend cache. Its kind is empty if there is no cache, or one
// without a backend, which is how the engines note that none was configured.
func readCache(file string) (source, error) {
	data, err := treefile.Read(file, treefile.MaxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return source{}, nil
	}
	invalid := func(err error) (source, error) {
		return source{}, fmt.Errorf("%w backend cache %s: %w; run `terraform init -reconfigure` (or `tofu`) to write it anew",
			statelatch.ErrInvalid, file, err)
	}
	if err != nil {
		return invalid(err)
	}
	var doc struct {
		Version int `json:"version"`
		Backend *struct {
			Type   string    `json:"type"`
			Config arguments `json:"config"`
		} `json:"backend"`
		StateStore json.RawMessage `json:"state_store"`
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		var typed *json.UnmarshalTypeError
		if errors.As(err, &typed) {
			return invalid(fmt.Errorf("%s is not what it should be", typed.Field))
		}
		return invalid(errors.New("it is not JSON"))
	}
	switch {
	case doc.Version != cacheVersion:
		return invalid(fmt.Errorf("version %d, want %d", doc.Version, cacheVersion))
	case len(doc.StateStore) > 0 && string(doc.StateStore) != "null":
		return source{kind: kindStateStore, source: file}, nil
	case doc.Backend == nil || doc.Backend.Type == "":
		return source{}, nil
	case doc.Backend.Config == nil:
		doc.Backend.Config = arguments{}
	}
	return source{kind: doc.Backend.Type, args: doc.Backend.Config, source: file}, nil
}
