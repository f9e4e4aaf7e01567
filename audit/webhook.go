package audit

import (
	"context"
	"fmt"

	"github.com/statelatch/statelatch/internal/guardhttp"
)

// SignatureHeader carries "sha256=" and the HMAC-SHA256 of a webhook's body in hex, where a key is given.
const SignatureHeader = guardhttp.SignatureHeader

// webhook posts every event. A receiver may get one twice, and knows it by its ID.
type webhook struct {
	*guardhttp.Webhook
	chain processChain
}

// Append posts e, a few times if it must.
func (w *webhook) Append(ctx context.Context, e Event) error {
	if err := w.Post(ctx, w.chain.next(e)); err != nil {
		return fmt.Errorf("audit log %s: %w", w, err)
	}
	return nil
}
