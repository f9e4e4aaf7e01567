// Package engine runs the built program beside a real terraform or tofu: whose lock stands in whose way, no update is
// lost, and what the program's documents show is what happens.
package engine

import (
	"testing"

	"github.com/statelatch/statelatch/e2e/internal/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }
