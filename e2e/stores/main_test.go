// Package stores runs the built program and the aws command against stores: the embedded one, others' and broken ones.
// Its benchmarks measure the embedded store and commands over many states.
package stores

import (
	"testing"

	"github.com/statelatch/statelatch/e2e/internal/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }
