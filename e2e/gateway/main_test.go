// Package gateway runs real engines, unmodified, through gateways in front of a real store: sessions by OIDC tokens,
// gateways that are killed, networks that lose, roles, and clients on the bucket itself beside them.
package gateway

import (
	"testing"

	"github.com/statelatch/statelatch/e2e/internal/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }
