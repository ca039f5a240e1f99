// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Authority returns the hash of the certificate authority that controllers of
// this etcd have, or "" before the first one has started.
func Authority(ctx context.Context, client *clientv3.Client) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	reply, err := client.Get(ctx, keyAuthority)
	if err != nil {
		return "", failed(err, "read from etcd which certificate authority is in use")
	}
	if len(reply.Kvs) == 0 {
		return "", nil
	}
	return string(reply.Kvs[0].Value), nil
}

// ClaimAuthority makes an authority, given by its hash, the one of all
// controllers of this etcd. It fails if there is another one already: hosts and
// clients that one controller has certified would be strangers to the other.
func ClaimAuthority(ctx context.Context, client *clientv3.Client, hash string) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	reply, err := client.Txn(ctx).
		If(absent(keyAuthority)).
		Then(clientv3.OpPut(keyAuthority, hash)).
		Else(clientv3.OpGet(keyAuthority)).
		Commit()
	if err != nil {
		return failed(err, "tell etcd which certificate authority is in use")
	}
	if reply.Succeeded {
		return nil
	}
	if known := string(reply.Responses[0].GetResponseRange().Kvs[0].Value); known != hash {
		return fmt.Errorf("this controller's certificate authority has the SHA-256 %s, the controllers of this etcd have %s: copy the pki directory of one of them to this controller", hash, known)
	}
	return nil
}
