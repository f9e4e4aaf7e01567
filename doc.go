// Package statelatch is the vocabulary of the project: the address of a state
// ([Ref]), the content of its lock object ([LockInfo]), the header of a state
// body ([StateHeader]) and the kinds of error that everything above reports.
//
// It does no I/O and knows no SDK. Every object key, lock key and DynamoDB ID of
// the project is formed in ref.go, their suffixes included, and every byte of a
// lock object in lockinfo.go, so that compatibility with terraform and tofu is
// decided in two files.
//
// What works on them, from the bucket up:
//
//   - bucket is the port to object storage; bucket/s3bucket drives S3, bucket/membucket is one in memory, and
//     bucket/buckettest the suite that a driver must pass;
//   - lock, state and dynamo are the protocols: locks, state bodies, the engines' DynamoDB table; backendconf finds
//     which state a directory means;
//   - site is the front door: a bucket and the way to it, and work under a lock. Start there;
//   - wrap runs a command under the locks of its states; engine, shim, runner and identity are its parts;
//   - unlock ends locks from outside, on what evidence says;
//   - probe, with probe/verdict, proves that a store locks;
//   - fleet, history, inspect, resources, evidence, digest, cutover and gc look over a bucket, and mend it;
//   - bootstrap, policy and migrate set up a bucket, its rights, and a tree of configurations;
//   - audit and export record and tell what happens;
//   - embedded is an S3 store in one process.
package statelatch
