/** Addresses of the server that more than one module knows. */

export const GET_ALL = '/api/inventory/get-all';
export const CHANGES = '/api/inventory/changes';
export const STREAM = '/api/inventory/stream';

export const ADJUST = '/api/inventory/adjust';
