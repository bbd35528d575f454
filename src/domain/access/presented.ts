/** What a caller presents. */
export type Presented = {
  /** Of `authorization: Bearer` or `x-api-key`. */
  credential: string;
  /** Of `latchkey-user`: the user whom an API key acts for. */
  actsFor: string | undefined;
  /** Network address of who presents it. */
  address: string;
};
