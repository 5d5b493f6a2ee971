package schemas

import (
	"context"
	"strings"
)

// Actor is who changes something, for the audit log.
type Actor struct {
	Name      string // "key:<id>" of a tenant's key, or "owner"
	RequestID string // of the API's request, if there is one
}

// keyActor begins the name of an actor that is an API key.
const keyActor = "key:"

// KeyActor is a tenant's key at work.
func KeyActor(keyID, requestID string) Actor { return Actor{keyActor + keyID, requestID} }

// OfTenant says whether the actor belongs to a tenant, and may thus be trusted
// with the rows of that tenant only.
func (a Actor) OfTenant() bool { return strings.HasPrefix(a.Name, keyActor) }

type actorKey struct{}

// WithActor says on whose behalf the work under ctx is done.
func WithActor(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

// ActorFrom is the actor of ctx; ok is false where nobody was named.
func ActorFrom(ctx context.Context) (a Actor, ok bool) {
	a, ok = ctx.Value(actorKey{}).(Actor)
	return a, ok
}
