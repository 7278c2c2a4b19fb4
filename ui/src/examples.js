// The first tabs: each runs as it stands, with a token that may do it.
export const examples = [
  {
    query: `# Who is calling? The first query to try.
query Viewer {
  viewer {
    role
    user { id name email }
    apiKey { id name scopes }
    organization { id name }
  }
}
`,
  },
  {
    query: `# Find configurations by their metadata, newest first.
query Configurations($filter: PersonalConnectorConfigurationFilter) {
  personalConnectorConfigurations(filter: $filter, first: 10) {
    totalCount
    nodes {
      id
      name
      personalConnectorId
      configuration
      metadata
      healthStatus
      authMethod
      version
    }
    pageInfo { hasNextPage endCursor }
  }
}
`,
    variables: JSON.stringify({ filter: { metadata: { contains: { environment: 'production' } } } }, null, 2),
  },
  {
    query: `# Connect an account. The credentials are sealed at once and never come back.
mutation Create($input: PersonalConnectorConfigurationCreateInput!) {
  personalConnectorConfigurationCreate(input: $input) {
    personalConnectorConfiguration {
      id
      name
      metadata
      authMethod
      credentialsInfo { type rotatedAt encryptionKeyVersion }
    }
    userErrors { code message field }
  }
}
`,
    variables: JSON.stringify(
      {
        input: {
          personalConnectorId: 'pcon_github',
          name: 'My GitHub Account',
          configuration: { repository: 'acme/backend', branch: 'main', paths: ['src/', 'docs/'] },
          credentials: { bearer: { token: 'paste-a-token-here' } },
          metadata: { environment: 'staging' },
        },
      },
      null,
      2,
    ),
  },
  {
    query: `# What was done, by whom, and what was tried in vain.
query AuditLog {
  organization {
    auditLog(first: 10) {
      nodes {
        createdAt
        action
        actor {
          ... on User { name }
          ... on ApiKey { prefix }
          ... on SystemActor { name }
        }
        targetId
        changes { field before after }
        ipAddress
      }
    }
  }
}
`,
  },
  {
    query: `# What can be connected, and what each connector needs to know.
query Connectors {
  personalConnectors {
    nodes {
      id
      name
      description
      authMethods { type label instructions }
      configurationSchema
      exampleConfiguration
    }
  }
}
`,
  },
];
