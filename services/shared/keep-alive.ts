/**
 * How long an idle connection between our services is kept. The server must be the later one by far: where it ends a connection
 * just as the client sends its next request by it, that request is lost, and with it a migration.
 */
export const idleClientMs = 10_000;
export const idleServerMs = 60_000;
