package bucket_test

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/membucket"
)

// Two clients change one object; the store decides by their conditions whose write counts.
func ExampleCondition() {
	ctx := context.Background()
	var b bucket.Bucket = membucket.New("acme-state", membucket.Options{})

	first, err := b.Put(ctx, "motd", strings.NewReader("hello"), bucket.PutOptions{If: bucket.IfAbsent})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = b.Put(ctx, "motd", strings.NewReader("hi"), bucket.PutOptions{If: bucket.IfAbsent})
	fmt.Println("refused:", errors.Is(err, statelatch.ErrPreconditionFailed))

	_, err = b.Put(ctx, "motd", strings.NewReader("hi"), bucket.PutOptions{If: bucket.IfMatch(first.ETag)})
	fmt.Println("replaced:", err == nil)
	// Output:
	// refused: true
	// replaced: true
}
