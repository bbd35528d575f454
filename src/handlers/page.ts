import type { PageRequest } from '../db/paging.ts';

/** The paging fields that every List request has. */
export function pageRequest({ pageSize, pageToken, skip, withTotalSize }: PageRequest): PageRequest {
  return { pageSize, pageToken, skip, withTotalSize };
}

/** The paging fields of a List response. */
export function pageResponse({ nextPageToken, totalSize }: { nextPageToken: string; totalSize: number | undefined }) {
  return { nextPageToken, totalSize };
}
