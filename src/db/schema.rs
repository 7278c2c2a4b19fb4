// @generated automatically by Diesel CLI.

diesel::table! {
    api_keys (organization_id, id) {
        organization_id -> Uuid,
        id -> Uuid,
        name -> Text,
        key_id -> Text,
        hash -> Bytea,
        pepper_id -> Text,
        scopes -> Array<Nullable<Text>>,
        created_by_user_id -> Uuid,
        created_at -> Timestamptz,
        expires_at -> Nullable<Timestamptz>,
        revoked_at -> Nullable<Timestamptz>,
        version -> Int4,
        previous_hash -> Nullable<Bytea>,
        previous_pepper_id -> Nullable<Text>,
        previous_valid_until -> Nullable<Timestamptz>,
        allowed_networks -> Array<Nullable<Text>>,
        last_used_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    audit_heads (organization_id) {
        organization_id -> Uuid,
        sequence -> Int8,
        hash -> Bytea,
        pruned_sequence -> Int8,
        pruned_hash -> Bytea,
    }
}

diesel::table! {
    audit_log (organization_id, sequence) {
        organization_id -> Uuid,
        sequence -> Int8,
        id -> Uuid,
        action -> Text,
        actor_id -> Nullable<Text>,
        actor_name -> Nullable<Text>,
        target_type -> Text,
        target_id -> Text,
        changes -> Text,
        request_id -> Nullable<Text>,
        ip_address -> Nullable<Text>,
        user_agent -> Nullable<Text>,
        created_at -> Timestamptz,
        previous_hash -> Bytea,
        hash -> Bytea,
    }
}

diesel::table! {
    configurations (organization_id, id) {
        organization_id -> Uuid,
        id -> Uuid,
        owner_user_id -> Nullable<Uuid>,
        owner_api_key_id -> Nullable<Uuid>,
        connector_id -> Text,
        name -> Text,
        configuration -> Jsonb,
        enabled -> Bool,
        health_status -> Text,
        last_sync_at -> Nullable<Timestamptz>,
        last_error -> Nullable<Text>,
        description -> Nullable<Text>,
        metadata -> Nullable<Jsonb>,
        credential_revision -> Int8,
        version -> Int4,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        custom_connector_id -> Nullable<Uuid>,
    }
}

diesel::table! {
    connectors (organization_id, id) {
        organization_id -> Uuid,
        id -> Uuid,
        name -> Text,
        description -> Nullable<Text>,
        category -> Text,
        icon_url -> Nullable<Text>,
        documentation_url -> Nullable<Text>,
        server_url -> Text,
        auth_methods -> Jsonb,
        configuration_schema -> Jsonb,
        example_configuration -> Nullable<Jsonb>,
        enabled -> Bool,
        deprecation_reason -> Nullable<Text>,
        created_by_user_id -> Nullable<Uuid>,
        version -> Int4,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    credentials (organization_id, configuration_id) {
        organization_id -> Uuid,
        configuration_id -> Uuid,
        revision -> Int8,
        kind -> Text,
        bound_origin -> Text,
        organization_key_version -> Int4,
        sealed -> Bytea,
        expires_at -> Nullable<Timestamptz>,
        refreshable -> Bool,
        scopes -> Array<Nullable<Text>>,
        rotated_at -> Timestamptz,
    }
}

diesel::table! {
    grants (organization_id, id) {
        organization_id -> Uuid,
        id -> Uuid,
        configuration_id -> Uuid,
        user_id -> Nullable<Uuid>,
        api_key_id -> Nullable<Uuid>,
        permission -> Text,
        granted_by_user_id -> Nullable<Uuid>,
        granted_by_api_key_id -> Nullable<Uuid>,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    idempotency_keys (organization_id, actor_id, mutation, key) {
        organization_id -> Uuid,
        actor_id -> Text,
        mutation -> Text,
        key -> Text,
        arguments_hash -> Bytea,
        answer -> Jsonb,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    identities (issuer, subject) {
        issuer -> Text,
        subject -> Text,
        user_id -> Uuid,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    members (organization_id, id) {
        organization_id -> Uuid,
        id -> Uuid,
        user_id -> Uuid,
        role -> Text,
        joined_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    organization_claims (issuer, value) {
        issuer -> Text,
        value -> Text,
        organization_id -> Uuid,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    organization_keys (organization_id, version) {
        organization_id -> Uuid,
        version -> Int4,
        root_key_id -> Text,
        wrapped -> Bytea,
        state -> Text,
        created_at -> Timestamptz,
        rewrapped_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    organization_tombstones (id) {
        id -> Uuid,
        name -> Text,
        slug -> Text,
        deleted_at -> Timestamptz,
        audit_entries -> Int8,
    }
}

diesel::table! {
    organizations (id) {
        id -> Uuid,
        name -> Text,
        slug -> Text,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        api_keys_may_never_expire -> Bool,
    }
}

diesel::table! {
    revoked_tokens (issuer, token_id, user_id) {
        issuer -> Text,
        token_id -> Text,
        user_id -> Uuid,
        expires_at -> Timestamptz,
    }
}

diesel::table! {
    users (id) {
        id -> Uuid,
        name -> Nullable<Text>,
        email -> Nullable<Text>,
        created_at -> Timestamptz,
        pending -> Nullable<Text>,
        tokens_valid_from -> Nullable<Timestamptz>,
    }
}

diesel::joinable!(api_keys -> organizations (organization_id));
diesel::joinable!(api_keys -> users (created_by_user_id));
diesel::joinable!(audit_heads -> organizations (organization_id));
diesel::joinable!(audit_log -> organizations (organization_id));
diesel::joinable!(configurations -> organizations (organization_id));
diesel::joinable!(connectors -> organizations (organization_id));
diesel::joinable!(connectors -> users (created_by_user_id));
diesel::joinable!(credentials -> organizations (organization_id));
diesel::joinable!(grants -> organizations (organization_id));
diesel::joinable!(idempotency_keys -> organizations (organization_id));
diesel::joinable!(identities -> users (user_id));
diesel::joinable!(members -> organizations (organization_id));
diesel::joinable!(members -> users (user_id));
diesel::joinable!(organization_claims -> organizations (organization_id));
diesel::joinable!(organization_keys -> organizations (organization_id));

diesel::allow_tables_to_appear_in_same_query!(
    api_keys,
    audit_heads,
    audit_log,
    configurations,
    connectors,
    credentials,
    grants,
    idempotency_keys,
    identities,
    members,
    organization_claims,
    organization_keys,
    organization_tombstones,
    organizations,
    revoked_tokens,
    users,
);
