package engine

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
	"github.com/zclconf/go-cty/cty/msgpack"
	"google.golang.org/protobuf/encoding/protowire"
)

// A saved plan is a zip file with a protocol buffer in the entry below. The fields are those of both engines'
// planfile.proto.
const (
	planEntry = "tfplan"

	fieldPlanBackend      = 13
	fieldBackendType      = 1
	fieldBackendConfig    = 2
	fieldBackendWorkspace = 3
	fieldDynamicMsgpack   = 1

	maxPlan = 256 << 20 // bytes, unpacked
)

// planned is where a saved plan keeps its state.
type planned struct {
	kind, workspace string
	args            map[string]any // as in the engines' backend cache
}

// errNoPlan: the file is no saved plan, or one that nobody can read without a key.
var errNoPlan = errors.New("it is no saved plan that can be read")

// readPlan finds the backend in a saved plan. An engine that applies the plan uses that one, whatever its directory
// says.
func readPlan(path string) (planned, error) {
	info, err := os.Stat(path)
	if err != nil {
		return planned{}, err
	}
	if !info.Mode().IsRegular() {
		return planned{}, errNoPlan
	}
	archive, err := zip.OpenReader(path)
	if err != nil {
		return planned{}, errNoPlan
	}
	defer archive.Close()
	entry, err := archive.Open(planEntry)
	if err != nil {
		return planned{}, errNoPlan
	}
	defer entry.Close()
	plan, err := io.ReadAll(io.LimitReader(entry, maxPlan+1))
	if err != nil || len(plan) > maxPlan {
		return planned{}, errNoPlan
	}
	backend, err := field(plan, fieldPlanBackend)
	if err != nil {
		return planned{}, err
	}
	var p planned
	kind, err1 := field(backend, fieldBackendType)
	config, err2 := field(backend, fieldBackendConfig)
	workspace, err3 := field(backend, fieldBackendWorkspace)
	packed, err4 := field(config, fieldDynamicMsgpack)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return planned{}, err
	}
	p.kind, p.workspace = string(kind), string(workspace)
	if p.kind == "" {
		return planned{}, errNoPlan
	}
	p.args, err = unpack(packed)
	return p, err
}

// field is the last value of a length-delimited field of a message; nil if it is not there.
func field(message []byte, number protowire.Number) ([]byte, error) {
	var value []byte
	for len(message) > 0 {
		n, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return nil, errNoPlan
		}
		message = message[size:]
		if n == number && kind == protowire.BytesType {
			v, size := protowire.ConsumeBytes(message)
			if size < 0 {
				return nil, errNoPlan
			}
			value, message = v, message[size:]
			continue
		}
		size = protowire.ConsumeFieldValue(n, kind, message)
		if size < 0 {
			return nil, errNoPlan
		}
		message = message[size:]
	}
	return value, nil
}

// unpack turns the arguments of a backend as they stand in a plan into what they are in JSON.
func unpack(packed []byte) (map[string]any, error) {
	ty, err := msgpack.ImpliedType(packed)
	if err != nil {
		return nil, fmt.Errorf("%w: its backend: %w", errNoPlan, err)
	}
	value, err := msgpack.Unmarshal(packed, ty)
	if err != nil || !value.IsWhollyKnown() || !value.Type().IsObjectType() || value.IsNull() {
		return nil, fmt.Errorf("%w: its backend is not what it should be", errNoPlan)
	}
	text, err := ctyjson.Marshal(value, cty.DynamicPseudoType)
	if err != nil {
		return nil, fmt.Errorf("%w: its backend: %w", errNoPlan, err)
	}
	var typed struct {
		Value map[string]any `json:"value"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&typed); err != nil {
		return nil, fmt.Errorf("%w: its backend: %w", errNoPlan, err)
	}
	return typed.Value, nil
}
