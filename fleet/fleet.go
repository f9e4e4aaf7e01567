// Package fleet looks over everything in a bucket or below a prefix: it lists in parallel, and tells which states and
// locks there are.
//
// What it guarantees: every object that is there from the beginning of a walk to its end is seen exactly once,
// whatever the distribution of the keys; what cannot be read is said so and does not hide the rest. What it does not:
// a walk is no snapshot, so that two objects may be seen as they were at different times, and what is written or
// removed meanwhile may or may not be seen.
package fleet
