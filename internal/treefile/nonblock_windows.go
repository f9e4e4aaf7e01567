package treefile

// nonblock is for the systems where a pipe can stand in a directory.
const nonblock = 0
