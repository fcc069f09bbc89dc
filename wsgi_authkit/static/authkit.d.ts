/**
 * Types of authkit.js, which the middleware serves below its mount path.
 *
 * For an import by URL, tell TypeScript where they are:
 * `"paths": { "/auth/authkit.js": ["./authkit.d.ts"] }` in tsconfig.json.
 */

export interface User {
  object: "user";
  id: string;
  email: string;
  emailVerified: boolean;
  name: string | null;
  firstName: string | null;
  lastName: string | null;
  profilePictureUrl: string | null;
  lastSignInAt: string | null;
  locale: string | null;
  createdAt: string | null;
  updatedAt: string | null;
  externalId: string | null;
  metadata: Record<string, string>;
}

export interface Impersonator {
  email: string;
  reason: string | null;
}

/** What WorkOS knows of somebody's session besides their token. */
export interface SessionDetails {
  /** With `include: ["organization"]`: that of the session; `null` when unknown. */
  organization?: { id: string; name: string } | null;
  /** With `include: ["expiry"]`: Unix seconds; `null` when unknown. */
  sessionExpiresAt?: number | null;
}

/** The session of somebody who is signed in: `UserInfo` of authkit-nextjs. */
export interface UserInfo extends SessionDetails {
  user: User;
  sessionId: string;
  organizationId?: string;
  role?: string;
  roles: string[];
  permissions: string[];
  entitlements: string[];
  featureFlags: string[];
  impersonator?: Impersonator;
}

export interface NoUserInfo {
  user: null;
  sessionId?: undefined;
  organizationId?: undefined;
  role?: undefined;
  roles?: undefined;
  permissions?: undefined;
  entitlements?: undefined;
  featureFlags?: undefined;
  impersonator?: undefined;
  organization?: undefined;
  sessionExpiresAt?: undefined;
  /** Where a sign-in starts. */
  signInUrl?: string;
}

/** The claims of an access token, with those of the environment's JWT template. */
export interface TokenClaims {
  sub: string;
  sid: string;
  exp: number;
  iat: number;
  auth_time?: number;
  org_id?: string;
  role?: string;
  roles?: string[];
  permissions?: string[];
  entitlements?: string[];
  feature_flags?: string[];
  [claim: string]: unknown;
}

export interface State {
  /** `undefined` while it is not known yet, `null` for nobody. */
  readonly user: User | null | undefined;
  readonly sessionId: string | undefined;
  readonly organizationId: string | undefined;
  readonly role: string | undefined;
  readonly roles: readonly string[] | undefined;
  readonly permissions: readonly string[] | undefined;
  readonly entitlements: readonly string[] | undefined;
  readonly featureFlags: readonly string[] | undefined;
  readonly impersonator: Impersonator | undefined;
  /**
   * The token as it is known now, without asking anybody. With eager auth it is there
   * from the first script on.
   */
  readonly accessToken: string | undefined;
  /** Whether it is not known yet who is signed in. */
  readonly loading: boolean;
  /** Why the last call gave nothing; `null` after one that did. */
  readonly error: AuthKitError | null;
}

/** What went wrong with a call. Its message names no person and no token. */
export class AuthKitError extends Error {
  /**
   * `"unauthenticated"`, `"authorization_required"`, `"session_changed"`,
   * `"cross_origin"`, `"invalid_request"`, `"method_not_allowed"`, `"unavailable"` or `"invalid_response"`.
   */
  readonly code: string;
  /** The HTTP status, 0 where there was no response. */
  readonly status: number;
  /** For `"authorization_required"` what WorkOS asks for, such as `"sso_required"`. */
  readonly reason: string | undefined;
  /** Where a sign-in starts that takes the step that is asked for. */
  readonly signInUrl: string | undefined;
  /** Seconds after which to try again. */
  readonly retryAfter: number | undefined;
  /** Whether trying again can help. The session is as good as before. */
  readonly isTransient: boolean;
}

export interface Configuration {
  /** Where the endpoints are, before the first use. Default: beside authkit.js. */
  baseUrl?: string | URL;
  /**
   * What happens when the session of this page is found to be over, or that of another
   * person: when the page comes back to the foreground, or a call says so. Once for
   * each session. Default: reload the page. `false`: nothing.
   */
  onSessionExpired?: (() => void) | false;
}

export interface AuthKit {
  configure(options: Configuration): void;
  /** Return the state as it is. The same object until something changes. */
  getState(): State;
  /**
   * Call a function with the state, at once and after each change.
   *
   * Session and token are loaded. As long as somebody has subscribed the token is
   * renewed before it expires: 60 seconds before, 30 for one of 5 minutes or less, and
   * never over half of its life. What cannot be renewed is kept and tried again.
   *
   * @param options.accessToken `false` where no token is needed, so that none is loaded.
   * @returns A function that ends it.
   */
  subscribe(
    listener: (state: State) => void,
    options?: { accessToken?: boolean },
  ): () => void;
  /**
   * Ask the server who is signed in.
   *
   * @param options.ensureSignedIn Go to sign in where nobody is, and come back to this
   *   page. The promise is then never settled.
   * @param options.include What WorkOS has to be asked for.
   * @throws AuthKitError Nobody can say.
   */
  getAuth(options: {
    ensureSignedIn: true;
    include?: ("organization" | "expiry")[];
  }): Promise<UserInfo>;
  getAuth(options?: {
    ensureSignedIn?: boolean;
    include?: ("organization" | "expiry")[];
  }): Promise<UserInfo | NoUserInfo>;
  /**
   * Refresh the session now, for new roles, permissions or user data.
   *
   * Never throws. Of the error, `signInUrl` is where to go on when WorkOS asks for
   * another step, such as SSO.
   *
   * @param options.organizationId Switch to this organization.
   */
  refreshAuth(options?: {
    organizationId?: string;
  }): Promise<UserInfo | { error: AuthKitError | Error }>;
  /**
   * Switch to another organization, as {@link AuthKit.refreshAuth} does.
   *
   * @param options.returnTo A page of this site to go on to, also from a sign-in that
   *   WorkOS asks for. Default: stay here.
   */
  switchToOrganization(
    organizationId: string,
    options?: { returnTo?: string },
  ): Promise<UserInfo | { error: AuthKitError | Error }>;
  /**
   * Sign out here, in all tabs, and at WorkOS, to which the page goes on.
   *
   * @param options.returnTo Where to end: a path of this site, or a URL that the
   *   middleware allows.
   * @throws AuthKitError It did not happen.
   */
  signOut(options?: { returnTo?: string }): Promise<void>;
  /**
   * Return an access token that is good, `undefined` for nobody.
   *
   * While it cannot be renewed, an older one until it expires.
   *
   * @throws AuthKitError There is none, and nobody can say why. `"session_changed"`:
   *   somebody else has signed in meanwhile, and a token is for who has asked for it.
   */
  getAccessToken(): Promise<string | undefined>;
  /**
   * Return a new access token, and renew the session with it.
   *
   * @throws AuthKitError There is none, or it is another person's by now.
   */
  refresh(): Promise<string | undefined>;
  /** Return the claims of a good token, none for nobody. They are not verified here. */
  getTokenClaims(): Promise<TokenClaims | Record<string, never>>;
  /**
   * Say whether the person has proven who they are within `maxAge` seconds.
   *
   * For what the page shows. The server decides, with `check_recent_auth`.
   */
  recentAuth(options: { maxAge: number }): Promise<boolean>;
  /**
   * Have the page told of the coming end of the session, which WorkOS is asked for.
   *
   * `authkit:expiring` comes `warnBefore` seconds before it, or now if that has passed.
   * Where the end is unknown, only `authkit:expired` comes.
   *
   * @param options.warnBefore Seconds. Default: 300.
   * @returns A function that ends it.
   */
  watchExpiry(options?: { warnBefore?: number }): () => void;
}

/** Another client, for endpoints elsewhere than beside authkit.js. */
export function createAuthKit(options?: Configuration): AuthKit;

export const configure: AuthKit["configure"];
export const getState: AuthKit["getState"];
export const subscribe: AuthKit["subscribe"];
export const getAuth: AuthKit["getAuth"];
export const refreshAuth: AuthKit["refreshAuth"];
export const switchToOrganization: AuthKit["switchToOrganization"];
export const signOut: AuthKit["signOut"];
export const getAccessToken: AuthKit["getAccessToken"];
export const refresh: AuthKit["refresh"];
export const getTokenClaims: AuthKit["getTokenClaims"];
export const recentAuth: AuthKit["recentAuth"];
export const watchExpiry: AuthKit["watchExpiry"];

declare global {
  interface WindowEventMap {
    /** The session ends soon. */
    "authkit:expiring": CustomEvent<{ secondsLeft: number }>;
    /** The session of this page is over. */
    "authkit:expired": CustomEvent<undefined>;
  }
  interface HTMLElementTagNameMap {
    /**
     * Frames the page and says whose session this is, while somebody is impersonated.
     *
     * Attributes: `side` (`"bottom"` or `"top"`), `return-to` (where a sign-out ends).
     * CSS: `--authkit-impersonation-accent`, `-on-accent`, `-background`, `-text`,
     * `-font`, `-radius`, `-frame`; parts `frame`, `bar`, `text`, `stop`, `fold`.
     */
    "authkit-impersonation": HTMLElement;
  }
}
