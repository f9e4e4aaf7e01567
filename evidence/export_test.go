package evidence

import "net/http"

// NewCIWith is NewCI without a network.
func NewCIWith(transport http.RoundTripper, getenv func(string) string) *CI {
	c := NewCI(getenv)
	c.client.Transport = transport
	return c
}
