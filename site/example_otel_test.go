package site_test

import (
	"context"
	"fmt"

	"github.com/statelatch/statelatch/site"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace/noop"
)

// Steps as spans of OpenTelemetry.
func ExampleObserver() {
	tracer := noop.NewTracerProvider().Tracer("deploy") // the program's own
	spans := func(ctx context.Context, s site.Step) (context.Context, func(error)) {
		ctx, span := tracer.Start(ctx, "statelatch "+s.Name)
		span.SetAttributes(attribute.String("statelatch.ref", s.Ref.String()))
		for _, a := range s.Attrs {
			span.SetAttributes(attribute.String("statelatch."+a.Key, a.Value.String()))
		}
		return ctx, func(err error) {
			if err != nil {
				span.RecordError(err)
				span.SetStatus(codes.Error, err.Error())
			}
			span.End()
		}
	}
	s, err := site.Open(context.Background(), "s3://acme-state", site.Options{Observe: spans})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(s.Bucket.Name()) // and now s.Do, s.Update
}
