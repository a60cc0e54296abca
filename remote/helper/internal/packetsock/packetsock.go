// Package packetsock sets up sockets that get copies of packets. What is done with
// the packets is the caller's.
package packetsock
